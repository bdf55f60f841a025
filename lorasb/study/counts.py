"""Closed-form parameter counts of a study's cells, from shapes alone."""

from __future__ import annotations

from functools import cache

from lorasb.methods.counts import Counts, Shapes, model_shapes
from lorasb.study.cells import Cell
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
