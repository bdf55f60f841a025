from __future__ import annotations

import numpy as np
import pytest

from analysis import stats
from analysis.figures import scale_sensitivity as figure_module
from tests.analysis.conftest import ABLATIONS, METHODS, NAMES, make_tables
from tests.analysis.figures.lines import bars

ADAMW, SGD = "LoRA-SB, AdamW, r = 16", "LoRA-SB, SGD, r = 16"


def test_one_line_an_optimizer_with_intervals_over_seeds(ablations):
    figure = figure_module.draw(ablations.runs, ablations.directions, NAMES)
    top = bars(figure.axes[0])
    assert list(top) == [ADAMW, SGD]
    x, mean, half = top[ADAMW]
    assert x == [0.25, 1, 4]
    runs = ablations.runs.query("task == 'arithmetic' and variant == 'lora-sb-s4'")
    expected = stats.mean_interval(100 * runs["score"].to_numpy())
    assert mean[2] == pytest.approx(expected.mean)
    assert half[2] == pytest.approx(expected.high - expected.mean)
    assert figure.legends[0].get_title().get_text() == "mean of 3 seeds,\nbars: 95 % interval"
    assert [text.get_text() for text in figure.legends[0].get_texts()] == [ADAMW, SGD]


def test_second_row_is_the_size_relative_to_that_of_the_same_seed(ablations):
    figure = figure_module.draw(ablations.runs, ablations.directions, NAMES)
    assert len(figure.axes) == 6
    assert [axes.get_xscale() for axes in figure.axes] == ["log"] * 6
    below = bars(figure.axes[3])
    # norms grow with the seed alike for all s
    assert below[ADAMW][1] == pytest.approx([0.4, 1.0, 3.0])
    assert below[ADAMW][2] == pytest.approx([0, 0, 0], abs=1e-12)
    assert below[SGD][1] == pytest.approx([1, 1, 1])


def test_only_the_last_step_counts(ablations):
    earlier = ablations.directions["step"] < 100
    norms = ablations.directions["update_norm"].mask(earlier, 50.0)
    figure = figure_module.draw(
        ablations.runs, ablations.directions.assign(update_norm=norms), NAMES
    )
    assert bars(figure.axes[3])[ADAMW][1] == pytest.approx([0.4, 1.0, 3.0])


def test_without_directions_there_is_one_row(ablations):
    figure = figure_module.draw(ablations.runs, ablations.directions.iloc[:0], NAMES)
    assert len(figure.axes) == 3


def test_a_task_that_failed_shifts_no_other(ablations):
    runs = ablations.runs.copy()
    runs.loc[runs["task"] == "arithmetic", ["status", "score"]] = ["failed", np.nan]
    figure = figure_module.draw(runs, ablations.directions, NAMES)
    assert [axes.get_title() for axes in figure.axes[:2]] == ["World", "Sentences"]
    expected = ablations.runs.query("task == 'world' and variant == 'lora-sb-sgd'")["score"]
    assert bars(figure.axes[0])[SGD][1][1] == pytest.approx(100 * expected.mean())


def test_one_seed_has_points():
    made = make_tables(seeds=1, methods=[*METHODS, *ABLATIONS])
    figure = figure_module.draw(made.runs, made.directions, NAMES)
    _, mean, half = bars(figure.axes[0])[SGD]
    assert np.isfinite(mean).all()
    assert np.isnan(half).all()
    assert figure.legends[0].get_title().get_text() == "1 seed"


def test_nothing_to_draw_says_so(tables):
    figure = figure_module.draw(tables.runs, tables.directions, NAMES)
    assert figure.texts[-1].get_text() == "No two variants differ in s alone."
