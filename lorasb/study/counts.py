"""Closed-form parameter counts of a study's cells, from shapes alone."""

from __future__ import annotations

from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lorasb.config.read import read_text
from lorasb.errors import UserError
from lorasb.kept import kept
from lorasb.methods.counts import Counts, Shapes, model_shapes
from lorasb.study.cells import Cell

if TYPE_CHECKING:
    from lorasb.models.spec import Kind, ModelSpec
    from lorasb.study.study import Study


def cell_counts(study: Study, cell: Cell) -> Counts:
    """The counts of a cell."""
    shapes, base_params, head = adapted_shapes(study, cell.model, cell.task)
    method = study.variants[cell.variant].method
    return method.count(shapes, cell.rank, base_params).with_task_head(head)


@cache
def adapted_shapes(study: Study, model: str, task: str) -> tuple[Shapes, int, int]:
    """Shapes of the adapted weights, numbers of the whole model, numbers of its task head."""
    return model_shapes(study.models[model], study.tasks[task].kind, study.tasks[task].num_labels)


def refuse_ranks(study: Study) -> None:
    """Refuse a rank above the smaller side of a weight that it would adapt.

    Where a model's shape is known only from the hub, methods say so when they count.

    Raises
    ------
    UserError
        If there is one, or if one of a model's targets matches no layer that can be adapted.
    """
    kinds = {(model, study.tasks[task].kind) for model, task in study.pairs}
    smallest = {pair: _smallest(study, *pair) for pair in kinds}
    for point in study.points:
        name, *shape = smallest[point.model, study.tasks[point.task].kind]
        if point.rank > min(shape, default=point.rank):
            raise UserError(
                f"{study.path}: variants.{point.variant}.ranks: {point.rank} is larger than the "
                f"weight of '{name}' in {point.model} ({shape[0]} x {shape[1]}) allows; "
                f"at most {min(shape)}"
            )


def _smallest(study: Study, model: str, kind: Kind) -> list[Any]:
    try:
        return smallest_weight(study.models[model], kind)
    except UserError as error:
        raise UserError(f"config/models/{model}.yaml, in {study.path}: {error}") from error


def smallest_weight(spec: ModelSpec, kind: Kind) -> list[Any]:
    """Name, rows and columns of the adapted weight with the smallest side.

    The name alone, empty, where no file on this machine is sure to have the model's shape.
    """
    config = Path(spec.architecture or f"{spec.path}/config.json")
    if not config.is_file():
        return [""]

    def find() -> list[Any]:
        shapes, _, _ = model_shapes(spec, kind, 2)  # the labels are those of the head, left out
        name = min(shapes, key=lambda name: min(shapes[name]))
        return [name, *shapes[name]]

    found: list[Any] = kept("weight", [asdict(spec), kind, read_text(config)], find)
    return found
