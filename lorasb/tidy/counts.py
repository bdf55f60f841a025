"""Closed-form counts of a study's variants, on its models and at the shapes of others."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cache
from typing import Any

from lorasb.methods.counts import Shapes, model_shapes
from lorasb.models.spec import ModelSpec
from lorasb.study.study import Study

COLUMNS = [
    *("model", "label", "variant", "rank", "base_parameters", "base_bytes", "trainable_parameters"),
    *("task_head_parameters", "stored_parameters", "stored_bytes", "shared_bytes"),
    "optimizer_state_bytes",
]

CountPoint = tuple[str, str, int]  # model, variant, rank


def count_rows(study: Study, others: Iterable[CountPoint]) -> Iterator[dict[str, Any]]:
    """One row a model, variant and rank, each once; columns `COLUMNS`.

    The study's own variants and ranks on its own models and on those of `others`, and then those of
    `others` themselves whose variant the study has. The kind of task, and so its head, is the
    model's first.
    """
    others = [point for point in others if point[1] in study.variants]
    points = dict.fromkeys((point.variant, point.rank) for point in study.points)
    models = dict.fromkeys([*study.models, *(model for model, _, _ in others)])
    wanted = [(model, *point) for model in models for point in points]
    for model, variant, rank in dict.fromkeys([*wanted, *others]):
        spec, shapes, base, head = _shapes(model)
        # a rank that a small model has, or a paper's model, may be too large for another
        if rank <= min(min(shape) for shape in shapes.values()):
            method = study.variants[variant].method
            counts = method.count(shapes, rank, base).with_task_head(head)
            number = method.bytes_a_number(spec.torch_dtype.itemsize)
            yield {
                "model": model,
                "label": spec.label,
                "variant": variant,
                "rank": rank,
                "base_parameters": base,
                "base_bytes": spec.torch_dtype.itemsize * base,
                "trainable_parameters": counts.trainable,
                "task_head_parameters": counts.task_head,
                "stored_parameters": counts.stored,
                "stored_bytes": number * (counts.stored + counts.task_head),
                "shared_bytes": number * counts.shared,
                "optimizer_state_bytes": number * counts.optimizer_state,
            }


@cache
def _shapes(model: str) -> tuple[ModelSpec, Shapes, int, int]:
    spec = ModelSpec.load(model)
    return spec, *model_shapes(spec, spec.kinds[0], num_labels=2)
