from __future__ import annotations

import pytest

from analysis import along_training
from analysis.figures import direction_preservation as figure_module
from tests.analysis.conftest import NAMES, make_tables


def test_a_row_a_rank_and_a_column_a_task(tables):
    figure = figure_module.draw(tables.directions, NAMES)
    assert len(figure.axes) == 9
    assert [axes.get_title() for axes in figure.axes[:3]] == ["Arithmetic", "World", "Sentences"]
    assert [axes.get_ylabel() for axes in figure.axes[::3]] == [
        "Cosine, rank 4",
        "Cosine, rank 8",
        "Cosine, rank 16",
    ]


def lines(axes):
    return {line.get_label(): line for line in axes.lines}


def test_lines_average_modules_then_seeds(tables):
    axes = figure_module.draw(tables.directions, NAMES).axes[7]
    cells = tables.directions.query("task == 'world' and rank == 16 and variant == 'lora-sb'")
    expected = cells.groupby(["step", "seed"])["cosine"].mean().groupby("step")
    drawn = lines(axes)["LoRA-SB"]
    assert list(drawn.get_xdata()) == [1, 20, 40, 60, 80, 100]
    assert drawn.get_ydata() == pytest.approx(expected.mean().to_numpy())
    # collections: the random floor, then a band a method in display order
    extent = axes.collections[2].get_paths()[0].get_extents()
    assert extent.y0 == pytest.approx(expected.min().min())
    assert extent.y1 == pytest.approx(expected.max().max())


def test_floor_and_ceiling_are_those_of_the_rank(tables):
    axes = figure_module.draw(tables.directions, NAMES).axes[0]
    cells = tables.directions.query("rank == 4")
    found = lines(axes)
    assert found[along_training.FLOOR].get_ydata()[0] == pytest.approx(cells["random"].iloc[0])
    assert found[along_training.CEILING].get_ydata()[0] == pytest.approx(
        cells.query("step == 1")["best_rank"].iloc[0]
    )
    top = axes.collections[0].get_paths()[0].get_extents().y1
    assert top == pytest.approx(cells["random_high"].iloc[0])


def test_a_method_without_a_rank_is_not_in_its_row(tables):
    axes = figure_module.draw(tables.directions, NAMES).axes[0]
    assert "LoRA" not in lines(axes)
    assert {"LoRA-XS", "LoRA-SB"} <= set(lines(axes))


def test_weights_that_did_not_move_are_left_out_of_the_mean(tables):
    directions = tables.directions.query("task == 'world' and variant == 'lora'").copy()
    still = (directions["step"] == 1) & directions["module"].str.contains("q_proj")
    directions.loc[still, "cosine"] = float("nan")
    drawn = lines(figure_module.draw(directions, NAMES).axes[0])["LoRA"].get_ydata()
    rest = directions[(directions["step"] == 1) & ~still]
    assert drawn[0] == pytest.approx(rest.groupby("seed")["cosine"].mean().mean())


def test_one_seed_one_task_and_no_rows():
    directions = make_tables(tasks=1, seeds=1).directions
    figure = figure_module.draw(directions, NAMES)
    assert "1 seed" in figure.legends[0].get_title().get_text()
    empty = figure_module.draw(directions.iloc[:0], NAMES)
    assert empty.texts[-1].get_text() == "No directions were measured."
    assert not empty.axes
