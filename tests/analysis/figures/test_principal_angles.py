from __future__ import annotations

import pytest

from analysis.figures import principal_angles as figure_module
from tests.analysis.conftest import NAMES


def test_a_row_a_side_and_a_line_a_method_and_rank(tables):
    figure = figure_module.draw(tables.gradients, NAMES)
    assert len(figure.axes) == 6
    assert figure.axes[0].get_ylabel() == "Overlap, left (outputs)"
    assert figure.axes[3].get_ylabel() == "Overlap, right (inputs)"
    names = [line.get_label() for line in figure.axes[0].lines]
    assert len(names) == 6
    assert {"full fine-tuning", "LoRA-SB, r = 4", "LoRA-SB, r = 16"} <= set(names)


@pytest.mark.parametrize(("place", "column"), [(1, "left_overlap"), (4, "right_overlap")])
def test_lines_are_means_over_weights_and_seeds(tables, place, column):
    axes = figure_module.draw(tables.gradients, NAMES).axes[place]
    (line,) = (line for line in axes.lines if line.get_label() == "LoRA-XS, r = 16")
    cells = tables.gradients.query("task == 'world' and rank == 16 and variant == 'lora-xs'")
    assert line.get_ydata() == pytest.approx(cells.groupby("step")[column].mean().to_numpy())


def test_no_rows_no_panels(tables):
    figure = figure_module.draw(tables.gradients.iloc[:0], NAMES)
    assert figure.texts[-1].get_text() == "No gradients were measured."
