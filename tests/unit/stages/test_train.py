"""What a cell's training run is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from lorasb.stages.train import _plan
from lorasb.study.study import Study
from tests.unit.study.test_study import STUDY, changed

ROWS = [{"input_ids": [1] * (3 + 7 * index % 50)} for index in range(100)]


def order(project: Path, size: int, passes: int) -> list[int]:
    """The rows of a cell of quickstart, by batch size and accumulation."""
    changed(project, STUDY, "{steps: 60,", f"{{steps: 60, batch_size: {size}, XX: {passes},")
    changed(project, STUDY, "XX", "gradient_accumulation")
    study = Study("quickstart")
    cell = study.cells_of("quickstart-llama", "world")[0]
    return _plan(study, cell, ROWS, project).order


@pytest.mark.parametrize(("size", "passes"), [(16, 2), (8, 4), (1, 32)])
def test_the_rows_of_a_step_do_not_depend_on_its_passes(project, size, passes):
    whole = order(project, 32, 1)
    changed(project, STUDY, "batch_size: 32, gradient_accumulation: 1, ", "")
    assert order(project, size, passes) == whole
