from __future__ import annotations

import pytest

from analysis import along_training
from analysis.figures import gradient_alignment as figure_module
from tests.analysis.conftest import NAMES, make_tables


def lines(axes):
    return {line.get_label(): line for line in axes.lines}


def test_a_row_a_rank_and_no_row_for_a_method_without_one(tables):
    figure = figure_module.draw(tables.gradients, NAMES)
    assert [axes.get_ylabel() for axes in figure.axes[::3]] == [
        "Cosine, rank 4",
        "Cosine, rank 8",
        "Cosine, rank 16",
    ]
    assert "full fine-tuning" not in {name for axes in figure.axes for name in lines(axes)}


def test_lines_start_at_step_0_and_average_weights_then_seeds(tables):
    axes = figure_module.draw(tables.gradients, NAMES).axes[7]
    cells = tables.gradients.query("task == 'world' and rank == 16 and variant == 'lora-sb'")
    expected = cells.groupby(["step", "seed"])["equivalent_cosine"].mean().groupby("step").mean()
    drawn = lines(axes)["LoRA-SB"]
    assert list(drawn.get_xdata()) == [0, 1, 20, 100]
    assert drawn.get_ydata() == pytest.approx(expected.to_numpy())
    assert axes.get_xlim()[0] < 0
    assert axes.get_xscale() == "symlog"


def test_marks_are_the_optimum_and_the_range_of_random_bases(tables):
    axes = figure_module.draw(tables.gradients, NAMES).axes[0]
    cells = tables.gradients.query("task == 'arithmetic' and rank == 4")
    optimum, random = (lines(axes)[name] for name in (along_training.CEILING, along_training.FLOOR))
    assert optimum.get_ydata() == pytest.approx(cells["optimum_cosine"].mean())
    assert random.get_ydata() == pytest.approx(cells["random_cosine"].mean())
    band = axes.collections[0].get_paths()[0].get_extents()
    assert band.y0 == pytest.approx(cells["random_low"].mean())
    assert band.y1 == pytest.approx(cells["random_high"].mean())


def test_a_study_without_ranks_or_rows_says_so():
    gradients = make_tables(tasks=1, seeds=1).gradients
    for few in (gradients.iloc[:0], gradients.query("variant == 'full'")):
        figure = figure_module.draw(few, NAMES)
        assert figure.texts[-1].get_text() == "No gradients were measured."
