from __future__ import annotations

import pandas as pd
import pytest

from analysis.figures import learning_rate_sweep as figure_module
from tests.analysis.conftest import NAMES


def marks(axes, label):
    return [
        (line.get_xdata()[0], line.get_ydata()[0], line.get_marker())
        for line in axes.lines
        if line.get_label() == label
    ]


def test_line_is_the_score_over_rates_in_order(tables):
    shuffled = tables.sweep.sample(frac=1, random_state=0)
    axes = figure_module.draw(shuffled, tables.selected, NAMES).axes[0]
    (curve,) = [item for item in axes.containers if item.get_label() == "LoRA, r = 8"]
    line = curve.lines[0]
    cells = tables.sweep.query("task == 'arithmetic' and variant == 'lora'")
    assert list(line.get_xdata()) == [1e-3, 2e-3, 5e-3, 1e-2, 2e-2]
    assert line.get_ydata() == pytest.approx(100 * cells["score"].to_numpy())
    assert axes.get_xscale() == "log"
    assert axes.get_ylabel() == "Accuracy (%)"


def test_chosen_rates_are_ringed_and_those_at_the_border_squared(tables):
    axes = figure_module.draw(tables.sweep, tables.selected, NAMES).axes[1]
    selected = tables.selected.query("task == 'world'")
    inside = selected[selected["edge"] == "none"]
    found = sorted(marks(axes, figure_module.CHOSEN))
    expected = sorted((float(row.lr), 100 * row.score, "o") for row in inside.itertuples())
    assert found == expected
    ((rate, _, marker),) = marks(axes, figure_module.EDGE)
    assert (rate, marker) == (1e-3, "s")


def test_a_failed_run_is_a_cross_and_no_point(tables):
    axes = figure_module.draw(tables.sweep, tables.selected, NAMES).axes[0]
    ((rate, _, marker),) = marks(axes, figure_module.FAILED)
    assert (rate, marker) == (2e-2, "x")
    (full,) = [item for item in axes.containers if item.get_label() == "full fine-tuning"]
    assert list(full.lines[0].get_xdata()) == [1e-3, 2e-3, 5e-3, 1e-2]


def test_several_seeds_have_bars(tables):
    twice = pd.concat(
        [tables.sweep, tables.sweep.assign(seed=101, score=tables.sweep.score + 0.02)]
    )
    figure = figure_module.draw(twice, tables.selected, NAMES)
    assert figure.legends[0].get_title().get_text() == "mean of 2 seeds,\nbars: 95 % interval"
    (curve,) = [item for item in figure.axes[0].containers if item.get_label() == "LoRA, r = 8"]
    (segments,) = curve.lines[2]
    assert len(segments.get_segments()) == 5


def test_no_sweep_says_so(tables):
    figure = figure_module.draw(tables.sweep.iloc[:0], tables.selected.iloc[:0], NAMES)
    assert figure.texts[-1].get_text() == "No learning rate was tried."
    assert not figure.axes
