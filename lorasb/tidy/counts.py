"""Closed-form counts of a study's variants, on its models and at the shapes of others."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Set
from functools import cache
from typing import Any

from lorasb.errors import UserError
from lorasb.methods.counts import Shapes, model_shapes
from lorasb.methods.method import NEEDS_GRADIENT
from lorasb.methods.registry import Variant
from lorasb.models.spec import FLOAT32_BYTES, ModelSpec
from lorasb.study.memory import SVD_COPIES, factor_numbers
from lorasb.study.study import Study

COLUMNS = [
    *("model", "label", "variant", "rank", "base_parameters", "base_bytes", "trainable_parameters"),
    *("task_head_parameters", "stored_parameters", "stored_bytes", "shared_bytes"),
    *("optimizer_state_bytes", "training_bytes", "start_bytes"),
]

CountPoint = tuple[str, str, int]  # model, variant, rank


def count_rows(study: Study, others: Iterable[CountPoint]) -> Iterator[dict[str, Any]]:
    """One row a model, variant and rank, each once; columns `COLUMNS`.

    The study's own variants and ranks on its own models and on those of `others`, and then those of
    `others` themselves whose variant the study has; what does not fit another model has no row. The
    kind of task, and so its head, is the model's first.
    """
    others = [point for point in others if point[1] in study.variants]
    points = dict.fromkeys((point.variant, point.rank) for point in study.points)
    models = dict.fromkeys([*study.models, *(model for model, _, _ in others)])
    wanted = [(model, *point) for model in models for point in points]
    for model, variant, rank in dict.fromkeys([*wanted, *others]):
        try:
            row = count_row(model, study.variants[variant], rank)
        except UserError:  # a rank that a small model has, or a paper's, may not suit the other
            continue
        yield row


def count_row(model: str, variant: Variant, rank: int) -> dict[str, Any]:
    """The counts of one variant and rank on one model; columns `COLUMNS`.

    `training_bytes` is the least that training takes on a GPU, `start_bytes` what the stage before
    it takes, 0 where there is none: no activations, nor copies of autocast.

    Raises
    ------
    UserError
        If the rank does not fit.
    """
    spec, shapes, base, head = _shapes(model)
    counts = variant.method.count(shapes, rank, base).with_task_head(head)
    number = variant.method.bytes_a_number(spec.torch_dtype.itemsize)
    stored = number * (counts.stored + counts.task_head)
    shared, state = number * counts.shared, number * counts.optimizer_state
    # weights, those of the adapter, gradients, moments; a whole model is held as it is stored
    held = spec.torch_dtype.itemsize * base + shared if not counts.whole_model else 0
    training = held + stored + number * counts.trainable_with_task_head + state
    return {
        "model": model,
        "label": spec.label,
        "variant": variant.name,
        "rank": rank,
        "base_parameters": base,
        "base_bytes": spec.torch_dtype.itemsize * base,
        "trainable_parameters": counts.trainable,
        "task_head_parameters": counts.task_head,
        "stored_parameters": counts.stored,
        "stored_bytes": stored,
        "shared_bytes": shared,
        "optimizer_state_bytes": state,
        "training_bytes": training if variant.method.trains else 0,
        "start_bytes": _start_bytes(spec, shapes, base, variant.method.needs, rank),
    }


def _start_bytes(spec: ModelSpec, shapes: Shapes, base: int, needs: Set[str], rank: int) -> int:
    number, largest = spec.torch_dtype.itemsize, max(m * n for m, n in shapes.values())
    beside = 0
    if needs & NEEDS_GRADIENT:  # of one weight at a time; sums and decompositions are on the host
        beside = number * largest
    if "weight_factors" in needs:
        beside = FLOAT32_BYTES * (SVD_COPIES * largest + factor_numbers(shapes, rank))
    return number * base + beside if needs else 0


def served_bytes(row: Mapping[str, int], adapters: int) -> int:
    """What a server holds that keeps so many adapters unmerged beside one base model."""
    return row["base_bytes"] + row["shared_bytes"] + adapters * row["stored_bytes"]


@cache
def _shapes(model: str) -> tuple[ModelSpec, Shapes, int, int]:
    spec = ModelSpec.load(model)
    return spec, *model_shapes(spec, spec.kinds[0], num_labels=2)
