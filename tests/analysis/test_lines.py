"""Panels of lines: of tasks, or of methods where these are many."""

from __future__ import annotations

import pandas as pd
import pytest

from analysis import lines
from analysis.figures import learning_rate_sweep, training_loss
from analysis.tidy import POINT
from tests.analysis.conftest import NAMES

TASKS = ["Arithmetic", "World", "Sentences"]


def many(table: pd.DataFrame) -> pd.DataFrame:
    """The rows at more ranks, so that there are more than `MANY` methods."""
    ranks = [0, 32, 64]
    return pd.concat([table.assign(rank=table["rank"] + more) for more in ranks])


def titles(figure) -> list[str]:
    return [panel.get_title() for panel in figure.axes]


def test_few_methods_are_lines_of_a_panel_a_task(tables):
    drawn = lines.lines(tables.losses, "t", NAMES)
    assert titles(drawn.figure) == TASKS
    assert drawn.labels[:2] == ["full fine-tuning", "LoRA, r = 8"]
    assert not drawn.apart


def test_many_methods_have_a_panel_each_with_a_line_a_task(tables):
    table = many(tables.losses)
    methods = table[["variant", "rank"]].drop_duplicates()
    assert len(methods) > lines.MANY
    drawn = lines.lines(table, "t", NAMES)
    assert len(titles(drawn.figure)) == len(set(titles(drawn.figure))) == len(methods)
    assert drawn.labels == TASKS
    assert {look["label"] for look in drawn.looks.values()} == set(drawn.labels)
    assert (
        drawn.axes.keys()
        == drawn.looks.keys()
        == set(table[POINT].itertuples(index=False, name=None))
    )
    for (*_, variant, rank), panel in drawn.axes.items():
        assert panel.get_title() == NAMES.label(variant, rank)


def test_panels_of_methods_share_their_axes_and_the_lowest_are_named(tables):
    drawn = lines.lines(many(tables.losses), "t", NAMES)
    first, *others = drawn.figure.axes
    first.set_xlim(3, 7)
    assert {panel.get_xlim() for panel in others} == {(3, 7)}
    lowest = drawn.figure.axes[-lines.COLUMNS :]
    assert all(panel.xaxis.get_tick_params()["labelbottom"] for panel in lowest)
    assert not first.xaxis.get_tick_params()["labelbottom"]


def test_losses_of_many_methods_are_on_a_logarithmic_scale(tables):
    few, all_of_them = (training_loss.draw(t, NAMES) for t in (tables.losses, many(tables.losses)))
    assert {panel.get_yscale() for panel in few.axes} == {"linear"}
    assert {panel.get_yscale() for panel in all_of_them.axes} == {"log"}
    all_of_them.draw_without_rendering()
    axis = all_of_them.axes[0].yaxis
    ticks = [*axis.get_major_ticks(), *axis.get_minor_ticks()]
    numbers = [float(text) for tick in ticks if (text := tick.label1.get_text())]
    assert 1 < len(numbers) < 8  # in a panel of an inch


def test_a_sweep_of_many_methods_marks_each_chosen_rate_in_its_panel(tables):
    sweep, selected = many(tables.sweep), many(tables.selected)
    figure = learning_rate_sweep.draw(sweep, selected, NAMES)
    by_title = dict(zip(titles(figure), figure.axes, strict=True))
    chosen = selected.query("task == 'world' and variant == 'lora' and rank == 40").iloc[0]
    panel = by_title["LoRA, r = 40"]
    places = [
        (line.get_xdata()[0], line.get_ydata()[0])
        for line in panel.lines
        if line.get_label() in (learning_rate_sweep.CHOSEN, learning_rate_sweep.EDGE)
    ]
    assert (float(chosen.lr), pytest.approx(100 * chosen.score)) in places
    assert len(places) == len(TASKS)
    assert panel.get_xscale() == "log"
