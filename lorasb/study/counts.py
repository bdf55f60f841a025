"""Closed-form parameter counts of a study's cells, from shapes alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lorasb.config.read import read_text
from lorasb.errors import UserError
from lorasb.kept import kept
from lorasb.methods.counts import Counts, Shapes, model_shapes
from lorasb.models.shapes import LayerShapes
from lorasb.study.cells import Cell, Point

if TYPE_CHECKING:
    from lorasb.models.spec import ModelSpec
    from lorasb.study.study import Study


def cell_counts(study: Study, cell: Cell) -> Counts:
    """The counts of a cell."""
    return _point_counts(study, cell.point)


@cache
def _point_counts(study: Study, point: Point) -> Counts:
    shapes, base_params, head = adapted_shapes(study, point.model, point.task)
    method = study.variants[point.variant].method
    return method.count(shapes, point.rank, base_params).with_task_head(head)


@cache
def adapted_shapes(study: Study, model: str, task: str) -> tuple[Shapes, int, int]:
    """Shapes of the adapted weights, numbers of the whole model, numbers of its task head."""
    spec, own = study.models[model], study.tasks[task]
    find = partial(_sizes, spec, own.kind, own.num_labels)
    sizes, norms, numbers, head = of_shape(study, model, task, "sizes", find)
    shapes = LayerShapes({name: (rows, columns) for name, (rows, columns) in sizes.items()})
    shapes.norms = norms
    return shapes, numbers, head


def _sizes(*model: Any) -> tuple[Shapes, int, int, int]:
    shapes, numbers, head = model_shapes(*model)
    return shapes, shapes.norms, numbers, head


def of_shape(study: Study, model: str, task: str, name: str, find: Callable[[], Any]) -> Any:
    """What follows from the shape of a model under a task: kept where a file here has the shape."""
    spec, own = study.models[model], study.tasks[task]
    file = _shape_file(spec)
    if file is None:
        return find()
    return kept(name, [asdict(spec), own.kind, own.num_labels, read_text(file)], find)


def refuse_ranks(study: Study) -> None:
    """Refuse a rank above the smaller side of a weight that it would adapt.

    Where only the hub knows a model's shape, methods look when they have the model.

    Raises
    ------
    UserError
        If there is one, or if one of a model's targets matches no layer that can be adapted.
    """
    for point in study.points:
        if _shape_file(study.models[point.model]) is None:
            continue
        try:
            shapes, numbers, _ = adapted_shapes(study, point.model, point.task)
        except UserError as error:
            where = f"config/models/{point.model}.yaml, in {study.path}"
            raise UserError(f"{where}: {error}") from error
        try:
            study.variants[point.variant].method.count(shapes, point.rank, numbers)
        except UserError as error:
            raise UserError(f"{study.path}: variants.{point.variant}.ranks: {error}") from error


def _shape_file(spec: ModelSpec) -> Path | None:
    file = Path(spec.architecture or f"{spec.path}/config.json")
    return file if file.is_file() else None
