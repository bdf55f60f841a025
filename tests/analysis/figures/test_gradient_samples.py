from __future__ import annotations

import pytest

from analysis.figures import gradient_samples as figure_module
from tests.analysis.conftest import ABLATIONS, METHODS, NAMES, make_tables
from tests.analysis.figures.lines import bars

LINE = "LoRA-SB, r = 16"


def test_overlap_is_the_mean_of_sides_and_weights_at_the_methods_rank(ablations):
    figure = figure_module.draw(ablations.runs, ablations.spectra, NAMES)
    assert len(figure.axes) == 6
    (line,) = figure.axes[0].lines
    assert list(line.get_xdata()) == [1, 5, 64, 500]
    cells = ablations.spectra.query("task == 'arithmetic' and rank == 16 and samples == 500")
    both = cells[["left_overlap", "right_overlap"]].mean(axis=1)
    assert line.get_ydata()[-1] == pytest.approx(both.mean())
    seeds = both.groupby(cells["seed"]).mean()
    band = figure.axes[0].collections[0].get_paths()[0].vertices
    at_last = band[band[:, 0] == 500, 1]
    assert (at_last.min(), at_last.max()) == pytest.approx((seeds.min(), seeds.max()))


def test_score_is_below_with_its_interval(ablations):
    figure = figure_module.draw(ablations.runs, ablations.spectra, NAMES)
    x, mean, half = bars(figure.axes[3])[LINE]
    assert x == [1, 5, 64, 500]
    scores = ablations.runs.query("task == 'arithmetic' and variant == 'lora-sb-n5'")["score"]
    assert mean[1] == pytest.approx(100 * scores.mean())
    # t of 2 degrees of freedom
    assert half[1] == pytest.approx(4.302653 * 100 * scores.sem())
    title = "mean of 3 seeds,\nbars: 95 % interval,\nband: lowest to highest"
    assert figure.legends[0].get_title().get_text() == title
    assert [text.get_text() for text in figure.legends[0].get_texts()] == [LINE]


def test_one_seed_has_no_overlap():
    made = make_tables(seeds=1, methods=[*METHODS, *ABLATIONS])
    figure = figure_module.draw(made.runs, made.spectra, NAMES)
    assert len(figure.axes) == 3
    assert figure.axes[0].get_ylabel() == "Accuracy (%)"


def test_nothing_to_draw_says_so(tables):
    figure = figure_module.draw(tables.runs, tables.spectra, NAMES)
    expected = "No two variants differ in the number of samples alone."
    assert figure.texts[-1].get_text() == expected
