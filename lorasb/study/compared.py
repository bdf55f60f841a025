"""What the workflow asks of a study: what it has to compare, and so which tables and figures."""

from __future__ import annotations

from contextlib import suppress
from itertools import combinations

from lorasb.config.read import load_study, names
from lorasb.errors import UserError
from lorasb.methods.method import NEEDS_GRADIENT
from lorasb.study.cells import Point
from lorasb.study.rates import EDGES
from lorasb.study.settings import protocol_of, study_settings
from lorasb.study.study import Study
from lorasb.tasks.checks import LOWER_IS_BETTER


def studies_that_predict_with_training() -> list[str]:
    """The studies whose training processes also predict (`prediction.with_training`).

    One that cannot be read is left out: its own runs say why, those of others need not.
    """
    found = []
    for name in names("studies"):
        with suppress(UserError):
            data = load_study(name)
            if study_settings(data, protocol_of(data), name)["prediction"]["with_training"]:
                found.append(name)
    return found


def gradients(study: Study, model: str, task: str) -> list[tuple[int, int]]:
    """Number of samples and seed of each gradient that final cells of a task start from.

    None for a study that keeps nothing along training.
    """
    if not keeps_snapshots(study):
        return []
    return sorted(
        {
            (study.samples(task, cell.variant), cell.seed)
            for cell in study.cells_of(model, task)
            if study.variants[cell.variant].method.needs & NEEDS_GRADIENT
        }
    )


def keeps_snapshots(study: Study) -> bool:
    """Whether the study's cells keep what they train, so that gradients can be probed."""
    return bool(study.shared["probe"]["points"] > 0)


def compares_directions(study: Study) -> bool:
    """Whether the study keeps updates and has the variant that they are compared with."""
    return keeps_snapshots(study) and study.shared["probe"]["reference"] in study.variants


def has_evaluation_sets(study: Study) -> bool:
    """Whether the test split of a task of the study is made of several sets."""
    return any("sets" in data["splits"]["test"] for data in study.task_data.values())


def has_likelihoods(study: Study) -> bool:
    """Whether the likelihood of right answers is a metric of a task of the study."""
    return any("answer_loss" in data["metrics"] for data in study.task_data.values())


def tasks_chosen_by_loss(study: Study) -> list[str]:
    """The tasks whose learning rates are chosen by a metric of which less is better."""
    return [name for name, task in study.tasks.items() if task.selection_metric in LOWER_IS_BETTER]


def varied_arguments(study: Study) -> set[str]:
    """The arguments in which alone two variants of one method differ, and `samples` likewise."""
    found = set()
    for one, other in combinations(study.variants.values(), 2):
        own, others = (v.arguments | {"samples": v.samples} for v in (one, other))
        differing = {name for name in own | others if own.get(name) != others.get(name)}
        if one.method_name == other.method_name and len(differing) == 1:
            found |= differing
    return found


def rates_at_an_edge(study: Study) -> list[list[str]]:
    """Model, task, variant, rank, rate, "low" or "high" of each rate at an edge of its grid."""
    columns = [*Point._fields, "lr", "edge"]
    rows = study.committed_rates.values()
    return [[row[name] for name in columns] for row in rows if row.get("edge") in EDGES]
