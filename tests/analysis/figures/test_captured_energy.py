from __future__ import annotations

import pandas as pd
import pytest

from analysis.figures import captured_energy as figure_module
from tests.analysis.conftest import NAMES, make_tables


def lines(axes):
    return {line.get_label(): line for line in axes.lines}


def test_one_panel_a_task_and_two_lines_from_the_most_samples(ablations):
    figure = figure_module.draw(ablations.spectra, NAMES)
    assert [axes.get_title() for axes in figure.axes] == ["Arithmetic", "World", "Sentences"]
    drawn = lines(figure.axes[0])
    assert list(drawn) == ["gradient", "sign of the gradient"]
    assert {line.get_linestyle() for line in drawn.values()} == {"-", "--"}
    fewer = ablations.spectra["samples"] < 500
    other = ablations.spectra.assign(
        gradient_share=ablations.spectra["gradient_share"].mask(fewer, 0.0)
    )
    again = lines(figure_module.draw(other, NAMES).axes[0])
    assert again["gradient"].get_ydata() == pytest.approx(drawn["gradient"].get_ydata())


def test_share_is_the_mean_over_weights_and_the_band_over_seeds(ablations):
    axes = figure_module.draw(ablations.spectra, NAMES).axes[0]
    line = lines(axes)["gradient"]
    # 32 and 48 were measured for one of three weights only
    assert list(line.get_xdata()) == [1, 4, 16, 64]
    cells = ablations.spectra.query("task == 'arithmetic' and samples == 500 and rank == 4")
    seeds = cells.groupby("seed")["gradient_share"].mean()
    assert line.get_ydata()[1] == pytest.approx(seeds.mean())
    band = axes.collections[0].get_paths()[0].vertices
    at_four = band[band[:, 0] == 4, 1]
    assert (at_four.min(), at_four.max()) == pytest.approx((seeds.min(), seeds.max()))


def test_a_weight_of_lower_full_rank_counts_as_one_beyond_it():
    table = pd.DataFrame(
        [("small", 1, 0.5), ("small", 2, 1.0), ("large", 1, 0.3), ("large", 4, 0.8)],
        columns=["module", "rank", "share"],
    ).assign(seed=0)
    found = figure_module.over_weights(table, "share")
    assert found.to_dict() == {(0, 1): pytest.approx(0.4), (0, 4): pytest.approx(0.9)}


def test_legend_says_what_means_are_over(ablations):
    title = "mean over the adapted weights,\nmean of 3 seeds,\nband: lowest to highest"
    assert figure_module.draw(ablations.spectra, NAMES).legends[0].get_title().get_text() == title
    single = make_tables(seeds=1).spectra
    expected = "mean over the adapted weights,\n1 seed"
    assert figure_module.draw(single, NAMES).legends[0].get_title().get_text() == expected


def test_no_spectra_says_so(tables):
    figure = figure_module.draw(tables.spectra.iloc[:0], NAMES)
    assert figure.texts[-1].get_text() == "No spectra were measured."
