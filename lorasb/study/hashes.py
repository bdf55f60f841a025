"""Hashes of every setting that something depends on.

They are the `params:` of the rules: a cell runs again when one of its settings changed, and not
when a comment did.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from functools import cache
from typing import TYPE_CHECKING, Any

from lorasb.config.read import Data
from lorasb.methods.method import NEEDS_GRADIENT
from lorasb.models.spec import ModelSpec
from lorasb.records import sha256
from lorasb.study.cells import Cell, Point
from lorasb.study.names import name_rows

if TYPE_CHECKING:
    from lorasb.study.study import Study

# Raised when cells would keep something else along training; final cells run again
SNAPSHOTS = 2
# Settings that came later: with these values they are left out of a hash, so that none changed
LATER: dict[str, Data] = {
    "model": {"package": None, "attention": None},
    "training": {"head_learning_rate": None, "logits": "all", "compile": False},
    "factors": {"svd": "converged"},
    "start": {"learning_rate": "first-step"},
    "prediction": {"epoch": "last"},
}


def model_hash(study: Study, model: str) -> str:
    """Changes when another base model would be fetched."""
    return _hash(_model_key(study.models[model]))


def data_hash(study: Study, model: str, task: str) -> str:
    """Changes when the prepared splits would."""
    return _hash(_data_key(study, model, task))


def gradient_hash(study: Study, model: str, task: str, samples: int) -> str:
    """Changes when the gradient estimated from so many samples would."""
    return _hash(_gradient_key(study, model, task, samples))


def activations_hash(study: Study, model: str, task: str, samples: int) -> str:
    """Changes when the activations of so many samples would."""
    return _hash(["activations", _data_key(study, model, task), samples])


def factors_hash(study: Study, model: str, task: str, samples: int) -> str:
    """Changes when the factors of the gradient would."""
    key = _gradient_key(study, model, task, samples)
    return _hash([key, _settings(study, task, "factors"), study.largest_rank])


def weight_factors_hash(study: Study, model: str) -> str:
    """Changes when the factors of the weights would."""
    return _hash([_model_key(study.models[model]), study.largest_rank])


def point_hash(study: Study, point: Point) -> str:
    """Changes when training would, at whatever learning rate and seed, or what chooses the rate.

    A learning rate that was selected under another hash may no longer be the best one.
    """
    metric = study.tasks[point.task].selection_metric
    return _hash([*_point_key(study, point), "selection", metric])


def cell_hash(study: Study, cell: Cell) -> str:
    """Changes when the trained weights of the cell would, or what a final cell keeps of them."""
    points = study.settings(cell.task)["probe"]["points"]
    kept = points if cell.split == "selection" else [points, SNAPSHOTS]
    return _hash([_point_key(study, cell.point), cell.lr, cell.seed, kept])


def score_hash(study: Study, task: str) -> str:
    """Changes when the same predictions would be scored differently."""
    return scoring_hash(study.task_data[task])


def scoring_hash(data: Data) -> str:
    """`score_hash` of what a task's file says."""
    key = [data["score_version"], data["metrics"], data["primary"], data.get("answers")]
    sets = data["splits"]["test"].get("sets", {})
    rules = {name: one["answers"] for name, one in sets.items() if "answers" in one}
    return _hash([*key, rules] if rules else key)


def names_hash(study: Study) -> str:
    """Changes when a label, a style or the order of what tables and figures name would."""
    return _hash(list(name_rows(study)))


def counts_hash(study: Study) -> str:
    """Changes when what is counted would: points, models, arguments."""
    variants = {name: variant.arguments for name, variant in study.variants.items()}
    models = {name: asdict(spec) for name, spec in study.models.items()}
    return _hash([sorted({point[2:] for point in study.points}), variants, models])


def stale_rates(study: Study) -> list[str]:
    """The points whose learning rate was selected under other settings than the present ones."""
    if study.learning_rates != "selected":
        return []
    return [
        f"{point.task}, {point.variant}, rank {point.rank}"
        for point in study.points
        if study.variants[point.variant].method.trains
        and study.selected_rates.get(point, {}).get("settings") != point_hash(study, point)
    ]


@cache
def _point_key(study: Study, point: Point) -> list[Any]:
    model, task, variant = point.model, point.task, study.variants[point.variant]
    needs, samples = variant.method.needs, study.samples(task, variant.name)
    key = [
        _data_key(study, model, task),
        _settings(study, task, "training"),
        variant.method_name,
        variant.method.version,
        variant.arguments,
        point.rank,
        *_prediction_key(study, task),
        *_precision_key(study, point),
    ]
    if "gradient" in needs:
        key.append(gradient_hash(study, model, task, samples))
    if "activations" in needs:
        key.append(activations_hash(study, model, task, samples))
    if "gradient_factors" in needs:
        key.append(factors_hash(study, model, task, samples))
    if "weight_factors" in needs:
        key.append(weight_factors_hash(study, model))
    if needs & NEEDS_GRADIENT:
        key += _start_key(study, task)
    return key


def _prediction_key(study: Study, task: str) -> list[Any]:
    """What predictions depend on besides the trained weights and the data; by default nothing."""
    prediction = study.settings(task)["prediction"]
    key: list[Any] = []
    if "epoch" in _settings(study, task, "prediction"):
        # the best epoch depends on how it is scored
        key += [prediction["epoch"], score_hash(study, task)]
    if "sampling" in study.task_data[task]:
        # draws are made for a batch at a time
        key.append(prediction["batch_size"])
    if "replies" in study.task_data[task]:
        key.append(study.task_data[task]["replies"])
    # of whose answers the likelihood is kept
    return key + (study.tasks[task].by_likelihood and ["likelihood"])


def _precision_key(study: Study, point: Point) -> list[Any]:
    """What was held in bfloat16 as its model until it was held in float32: all but adapters."""
    if study.models[point.model].dtype == "float32":
        return []
    method = study.variants[point.variant].method
    has_head = bool(study.resolved(point.model, point.task).task_head)
    return ["float32"] if method.trains and (has_head or not method.has_rank) else []


def _start_key(study: Study, task: str) -> list[Any]:
    """How a method is to start from a gradient, where that is not the default."""
    factors = _without(_settings(study, task, "factors"), {"step"})
    start = factors | _settings(study, task, "start")
    return [start] if start else []


@cache
def _data_key(study: Study, model: str, task: str) -> list[Any]:
    data = _data_of(study.task_data[task])
    sets = data["splits"]["test"].get("sets")
    if sets:
        own = {name: _data_of(one) for name, one in sets.items()}
        data["splits"] = {**data["splits"], "test": {"sets": own}}
    max_length = study.settings(task)["training"]["max_length"]
    found = study.tasks[task]
    # a file that is missing yet is told by what reads it
    contents = [sha256(path) for path in found.unpinned if path.is_file()]
    more = [part for part in (found.dropped, contents) if part]
    return [_model_key(study.models[model]), data, max_length, *more]


def _data_of(task: Data) -> Data:
    """What prepared rows depend on: no scoring, and no number of rows, which is only checked.

    Which training rows are dropped is told apart, as it may follow from the other keys.
    """
    scoring = {"score_version", "metrics", "primary", "selection_metric", "answers", "label"}
    data = _without(task, scoring | {"drop_overlap", "replies"})
    if "splits" in data:
        data["splits"] = {
            name: _without(split, {"drop_overlap"}) for name, split in data["splits"].items()
        }
    if data.get("source", {}).get("loader") == "hub":
        data["source"] = _without(data["source"], {"rows"})
    return data


def _gradient_key(study: Study, model: str, task: str, samples: int) -> list[Any]:
    settings = study.settings(task)["gradient"] | {"samples": samples}
    training = _settings(study, task, "training")
    settings |= {key: value for key, value in training.items() if key == "logits"}
    return [_data_key(study, model, task), settings]


def _model_key(model: ModelSpec) -> Data:
    return _without_later("model", _without(asdict(model), {"label", "pickled_weights"}))


def _settings(study: Study, task: str, section: str) -> Data:
    """A section of the settings as it is hashed."""
    return _without_later(section, study.settings(task)[section])


def _without_later(section: str, data: Data) -> Data:
    later = LATER.get(section, {})
    return {key: value for key, value in data.items() if later.get(key, ...) != value}


def _without(data: Data, keys: set[str]) -> Data:
    return {key: value for key, value in data.items() if key not in keys}


def _hash(key: Any) -> str:
    text = json.dumps(key, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]
