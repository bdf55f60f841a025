"""What a cell stands for: every setting that its numbers depend on, and hashes of them.

The hashes are the `params:` of the rules: a cell runs again when one of its settings changed, and
not when a comment did.
"""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

from lorasb import config
from lorasb.errors import UserError
from lorasb.grid import Cell, final_cells, largest_rank, points, selected_rates
from lorasb.registry import variant_method

SUITE = "suite"  # the protocol of config/defaults.yaml alone
# Raised when cells would keep something else along training; final cells run again
SNAPSHOTS = 2
# what a method may need that starts with an estimated gradient
NEEDS_GRADIENT = frozenset({"gradient", "gradient_factors"})
# Settings are hashed without those that have these values, so that an added one changes no hash
UNHASHED = {"svd": "converged", "learning_rate": "first-step", "epoch": "last"}


@dataclass(frozen=True)
class Resolved:
    """The resolved configuration of a task within a study, or of one cell of it."""

    model: config.Data
    task: config.Data
    settings: config.Data


def resolve(study: str, model: str, task: str) -> Resolved:
    """Defaults, then settings of the protocol, of the study, and those it has for the task."""
    data = config.load_study(study)
    own = data.get("task_settings") or {}
    unknown = set(own) - set(data["tasks"])
    if unknown:
        raise UserError(
            f"config/studies/{study}.yaml: task_settings.{sorted(unknown)[0]}: "
            f"not a task of this study; its tasks: {', '.join(data['tasks'])}"
        )
    shared = _study_settings(study)
    settings = config.merge(shared, own.get(task, {}))
    config.check(settings, "settings", f"config/studies/{study}.yaml (settings of {task})")
    training = settings["training"]
    if (training["steps"] is None) == (training["epochs"] is None):
        raise UserError(
            f"config/studies/{study}.yaml (settings of {task}): training.steps and "
            "training.epochs: give one and set the other to null"
        )
    if settings["factors"]["learning_rate"] == "loader-warmup" and not training["warmup_ratio"]:
        raise UserError(
            f"config/studies/{study}.yaml (settings of {task}): factors.learning_rate: "
            "loader-warmup divides by training.warmup_ratio, which is 0; give one above 0"
        )
    # the rules know the study's setting alone
    both = (settings["prediction"], shared["prediction"])
    if both[0]["epoch"] == "best" and not all(one["with_training"] for one in both):
        raise UserError(
            f"config/studies/{study}.yaml (settings of {task}): prediction.epoch: best predicts "
            "along training; set prediction.with_training to true for the whole study"
        )
    return Resolved(config.load_model_config(model), config.load_task_config(task), settings)


def check_study(study: str) -> None:
    """Refuse a study whose names, ranks or settings are wrong, before anything is planned."""
    found = points(study)
    for model, task in sorted({(model, task) for model, task, _, _ in found}):
        resolve(study, model, task)
    for variant in sorted({variant for _, _, variant, _ in found}):
        _check_samples(variant)


def gradient_samples(study: str, model: str, task: str, variant: str) -> int:
    """Training samples of the gradient that a variant starts from: its own or the study's."""
    own = config.load_variant(variant).get("samples")
    return int(own or resolve(study, model, task).settings["gradient"]["samples"])


def gradient_path(cell: Cell, pattern: str) -> Path:
    """The folder of the gradient that a cell starts from, or of its factors."""
    samples = gradient_samples(cell.study, cell.model, cell.task, cell.variant)
    return Path(pattern.format(**vars(cell), samples=samples))


def data_hash(study: str, model: str, task: str) -> str:
    """Changes when the prepared splits would."""
    return _hash(_data_key(resolve(study, model, task)))


def gradients(study: str, model: str, task: str) -> list[tuple[int, int]]:
    """Number of samples and seed of each gradient that final cells of a task start from.

    None for a study that keeps nothing along training.
    """
    if not keeps_snapshots(study):
        return []
    return sorted(
        {
            (gradient_samples(study, model, task, cell.variant), cell.seed)
            for cell in final_cells(study)
            if (cell.model, cell.task) == (model, task)
            and variant_method(cell.variant).needs & NEEDS_GRADIENT
        }
    )


def gradient_hash(study: str, model: str, task: str, samples: int) -> str:
    """Changes when the gradient estimated from so many samples would."""
    return _hash(_gradient_key(resolve(study, model, task), samples))


def factors_hash(study: str, model: str, task: str, samples: int) -> str:
    """Changes when the factors of the gradient would."""
    resolved = resolve(study, model, task)
    key = _gradient_key(resolved, samples)
    factors = _without(_hashed(resolved.settings["factors"]), {"learning_rate"})
    return _hash([key, factors, largest_rank(study)])


def weight_factors_hash(study: str, model: str) -> str:
    """Changes when the factors of the weights would."""
    return _hash([_model_key(config.load_model_config(model)), largest_rank(study)])


def point_hash(study: str, model: str, task: str, variant: str, rank: int) -> str:
    """Changes when training would, at whatever learning rate and seed.

    A learning rate that was selected under another hash may no longer be the best one.
    """
    return _hash(_point_key(study, model, task, variant, rank))


def cell_hash(cell: Cell) -> str:
    """Changes when the trained weights of the cell would, or what a final cell keeps of them."""
    points = resolve(cell.study, cell.model, cell.task).settings["probe"]["points"]
    kept = points if cell.split == "selection" else [points, SNAPSHOTS]
    point = _point_key(cell.study, cell.model, cell.task, cell.variant, cell.rank)
    return _hash([point, cell.lr, cell.seed, kept])


def stale_rates(study: str) -> list[str]:
    """The points whose learning rate was selected under other settings than the present ones."""
    if config.load_study(study)["learning_rates"] != "selected":
        return []
    return [
        f"{task}, {variant}, rank {rank}"
        for model, task, variant, rank in points(study)
        if variant_method(variant).trains
        and selected_rates(study).get((model, task, variant, str(rank)), {}).get("settings")
        != point_hash(study, model, task, variant, rank)
    ]


def score_hash(task: str) -> str:
    """Changes when the same predictions would be scored differently."""
    data = config.load_task_config(task)
    key = [data["score_version"], data["metrics"], data["primary"], data.get("answers")]
    sets = data["splits"]["test"].get("sets", {})
    rules = {name: one["answers"] for name, one in sets.items() if "answers" in one}
    return _hash([*key, rules] if rules else key)


def studies_that_predict_with_training() -> list[str]:
    """The studies whose training processes also predict (`prediction.with_training`)."""
    return [
        study
        for study in config.names("studies")
        if _study_settings(study)["prediction"]["with_training"]
    ]


def keeps_snapshots(study: str) -> bool:
    """Whether the study's cells keep what they train, so that gradients can be probed."""
    return _study_settings(study)["probe"]["points"] > 0


def compares_directions(study: str) -> bool:
    """Whether the study keeps updates and has the variant that they are compared with."""
    reference = _study_settings(study)["probe"]["reference"]
    return keeps_snapshots(study) and reference in config.load_study(study)["variants"]


def has_evaluation_sets(study: str) -> bool:
    """Whether the test split of a task of the study is made of several sets."""
    tasks = config.load_study(study)["tasks"]
    return any("sets" in config.load_task_config(task)["splits"]["test"] for task in tasks)


def varied_arguments(study: str) -> set[str]:
    """The arguments in which alone two variants of one method differ, and `samples` likewise."""
    variants = [config.load_variant(name) for name in config.load_study(study)["variants"]]
    settings = [
        (data["method"], {**data.get("arguments", {}), "samples": data.get("samples")})
        for data in variants
    ]
    found = set()
    for (method, one), (other_method, other) in combinations(settings, 2):
        names = {name for name in one | other if one.get(name) != other.get(name)}
        if method == other_method and len(names) == 1:
            found |= names
    return found


def total_steps(settings: config.Data, rows: int) -> int:
    """Optimiser steps of a training run on `rows` training rows."""
    training = settings["training"]
    if training["steps"] is not None:
        return int(training["steps"])
    per_step = training["batch_size"] * training["gradient_accumulation"]
    return max(1, math.ceil(rows * training["epochs"] / per_step))


def warmup_steps(training: config.Data, steps: int) -> int:
    """Steps of warm-up, rounded up."""
    return math.ceil(training["warmup_ratio"] * steps)


def _check_samples(variant: str) -> None:
    data = config.load_variant(variant)
    if "samples" in data and not variant_method(variant).needs & NEEDS_GRADIENT:
        raise UserError(
            f"config/methods: {variant}: samples: the method '{data['method']}' starts from no "
            "gradient; remove the key"
        )


def _study_settings(study: str) -> config.Data:
    """The defaults with the changes of the protocol, then of the study; not those of a task."""
    data = config.load_study(study)
    settings = config.load_defaults()
    protocol = data.get("protocol", SUITE)
    if protocol != SUITE:
        settings = config.merge(settings, config.load_protocol(protocol)["settings"])
    return config.merge(settings, data.get("settings", {}))


def _point_key(study: str, model: str, task: str, variant: str, rank: int) -> Any:
    resolved = resolve(study, model, task)
    data = config.load_variant(variant)
    method = variant_method(variant)
    key = [
        _data_key(resolved),
        resolved.settings["training"],
        data["method"],
        method.version,
        data.get("arguments", {}),
        rank,
    ]
    key += _prediction_key(resolved, task)
    samples = gradient_samples(study, model, task, variant)
    if "gradient" in method.needs:
        key.append(gradient_hash(study, model, task, samples))
    if "gradient_factors" in method.needs:
        key.append(factors_hash(study, model, task, samples))
    if "weight_factors" in method.needs:
        key.append(weight_factors_hash(study, model))
    if method.needs & NEEDS_GRADIENT:
        key += _start_key(resolved)
    return key


def _prediction_key(resolved: Resolved, task: str) -> list[Any]:
    """What predictions depend on besides the trained weights and the data; by default nothing."""
    prediction = resolved.settings["prediction"]
    # the best epoch depends on how it is scored; draws are made for a batch at a time
    scores = [prediction["epoch"], score_hash(task)] if "epoch" in _hashed(prediction) else []
    return scores + [prediction["batch_size"]] * ("sampling" in resolved.task)


def _start_key(resolved: Resolved) -> list[Any]:
    """How a method is to start from a gradient, where that is not the default."""
    start = _without(_hashed(resolved.settings["factors"]), {"step"})
    return [start] if start else []


def _data_key(resolved: Resolved) -> Any:
    task = _data_of(resolved.task)
    sets = task["splits"]["test"].get("sets")
    if sets:
        own = {name: _data_of(one) for name, one in sets.items()}
        task["splits"] = {**task["splits"], "test": {"sets": own}}
    return [_model_key(resolved.model), task, resolved.settings["training"]["max_length"]]


def _data_of(task: config.Data) -> config.Data:
    """What prepared rows depend on: no scoring, and no number of rows, which is only checked."""
    scoring = {"score_version", "metrics", "primary", "answers", "label"}
    data = _without(task, scoring)
    if data.get("source", {}).get("loader") == "hub":
        data["source"] = _without(data["source"], {"rows"})
    return data


def _gradient_key(resolved: Resolved, samples: int) -> Any:
    return [_data_key(resolved), resolved.settings["gradient"] | {"samples": samples}]


def _model_key(model: config.Data) -> Any:
    return _without(model, {"label"})


def _hashed(settings: config.Data) -> config.Data:
    return {key: value for key, value in settings.items() if UNHASHED.get(key) != value}


def _without(data: config.Data, keys: set[str]) -> config.Data:
    return {key: value for key, value in data.items() if key not in keys}


def _hash(key: Any) -> str:
    text = json.dumps(key, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]
