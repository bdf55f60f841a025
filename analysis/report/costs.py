"""What a method costs: measured in the study, and in closed form at the shapes of other models."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from analysis.report.inputs import Tables
from analysis.tidy import MEAN, POINT, groups, rows, succeeded

MEASURED = "measured"  # stands for a model: costs as the study measured them
ANY = "*"  # stands for a score: costs that do not depend on it


@dataclass(frozen=True)
class Cost:
    """What a reader may compare scores with; `served` follows from the reader's adapters."""

    name: str
    label: str
    unit: str = ""


COSTS = [
    Cost("trainable", "Trainable numbers"),
    Cost("stored", "Stored, an adapter", "B"),
    Cost("served", "Base and all adapters, served", "B"),
    Cost("peak", "Peak memory of training", "B"),
    Cost("start", "Peak memory of the start", "B"),
    Cost("step", "Seconds a step", "s"),
    Cost("total", "Seconds of start and training", "s"),
]

Costs = dict[str, dict[str, dict[str, float]]]  # shape -> score -> cost -> value
Key = tuple[str, int]  # variant, rank


def measured(tables: Tables) -> dict[tuple[str, str, int], dict[str, dict[str, float]]]:
    """Costs of each (model, variant, rank), by task: medians over seeds; of the mean, the largest.

    Seconds in all are those of the gradient, the factorisation and the training. What a release
    does not have is left out, `start` in those of before it was kept.
    """
    done = succeeded(tables.runs)
    seconds = done[["gradient_seconds", "factorize_seconds", "train_seconds"]].sum(axis=1)
    cell = [*POINT, "seed"]
    steps = tables.losses.groupby(cell)["step"].max().rename("steps")
    done = done.assign(total=seconds).join(steps, on=cell)
    done = done.assign(step=done["train_seconds"] / done["steps"])
    names = {
        **{"trainable_parameters": "trainable", "stored_bytes": "stored"},
        **{"peak_memory_bytes": "peak", "start_peak_memory_bytes": "start"},
        **{"step": "step", "total": "total"},
    }
    kept = [name for name in names if name in done]
    medians = done.groupby(POINT, sort=False)[kept].median().rename(columns=names).reset_index()
    found: dict[tuple[str, str, int], dict[str, dict[str, float]]] = {}
    for (model, variant, rank), part in groups(medians, ["model", "variant", "rank"]):
        table = part.set_index("task").drop(columns=["model", "variant", "rank"])
        by_task = {str(task): _known(line) for task, line in table.iterrows()}
        found[model, variant, rank] = {MEAN: _known(table.max())} | by_task
    return found


def counted(tables: Tables) -> dict[Key, dict[str, dict[str, float]]]:
    """Closed forms of each (variant, rank), by model; `base` and `shared` are bytes, for a budget.

    The study's own models are left out but for these two, under `MEASURED`. `peak` and `start` are
    without activations; what a method or a release does not have is left out.
    """
    if tables.counts is None:
        return {}
    own = set(tables.runs["model"])
    found: dict[Key, dict[str, dict[str, float]]] = {}
    for row in rows(tables.counts):
        held = {"base": float(row.base_bytes), "shared": float(row.shared_bytes)}
        sizes = {"trainable": float(row.trainable_parameters), "stored": float(row.stored_bytes)}
        for cost, column in (("peak", "training_bytes"), ("start", "start_bytes")):
            if least := getattr(row, column, 0):
                sizes[cost] = float(least)
        shape = MEASURED if row.model in own else row.model
        found.setdefault((row.variant, row.rank), {})[shape] = (
            held if shape == MEASURED else held | sizes
        )
    return found


def _known(line: pd.Series) -> dict[str, float]:
    return {str(name): float(value) for name, value in line.items() if pd.notna(value)}
