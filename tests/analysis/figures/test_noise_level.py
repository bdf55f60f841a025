from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from analysis.figures import noise_level as figure_module
from tests.analysis.conftest import NAMES
from tests.analysis.figures.lines import bars

LINE = "LoRA-SB, r = 16"


def test_levels_go_from_none_to_only_noise(ablations):
    figure = figure_module.draw(ablations.runs, ablations.gradients, NAMES)
    assert bars(figure.axes[3])[LINE][0] == pytest.approx([-2, -1, 0, 1, 2])
    names = [tick.get_text() for tick in figure.axes[3].get_xticklabels()]
    assert names == ["0", "0.1", "1", "10", figure_module.ONLY]


def test_noise_is_relative_to_the_signal():
    places = figure_module.level_places(pd.Series([0.0, 0.5, 50.0, np.inf, 0.5]))
    assert list(places) == [0.0, 0.5, 50.0, np.inf]
    assert places[50.0] - places[0.5] == pytest.approx(2)
    assert places[0.5] - places[0.0] == pytest.approx(1)
    assert places[np.inf] - places[50.0] == pytest.approx(1)
    table = pd.DataFrame(
        {
            **{"model": "m", "task": "t", "rank": 4},
            "variant": ["lora-sb", "half", "only", "full"],
            "arguments": [
                '{"scaling": 1.0}',
                '{"noise": 1.0, "signal": 2.0}',
                '{"noise": 1.0, "signal": 0.0}',
                "{}",
            ],
        }
    )
    levels = figure_module.with_levels(table).set_index("variant")["level"]
    assert dict(levels) == {"lora-sb": 0.0, "half": 0.5, "only": np.inf}


def test_shares_are_those_of_the_start(ablations):
    figure = figure_module.draw(ablations.runs, ablations.gradients, NAMES)
    _, mean, half = bars(figure.axes[0])[LINE]
    cells = ablations.gradients.query(
        "task == 'arithmetic' and variant == 'lora-sb-noise10' and step == 0"
    )
    seeds = cells.groupby("seed")["subspace_share"].mean()
    assert mean[3] == pytest.approx(seeds.mean())
    assert half[3] == pytest.approx(4.302653 * seeds.sem())  # t of 2 degrees of freedom
    assert figure.axes[0].get_yscale() == "log"


def test_scores_are_below_and_marks_in_the_legend(ablations):
    figure = figure_module.draw(ablations.runs, ablations.gradients, NAMES)
    _, mean, _ = bars(figure.axes[3])[LINE]
    scores = ablations.runs.query("task == 'arithmetic' and variant == 'lora-sb-random'")["score"]
    assert mean[4] == pytest.approx(100 * scores.mean())
    assert [text.get_text() for text in figure.legends[0].get_texts()] == [
        *(LINE, "best subspace of rank 16", "random subspace of rank 16")
    ]
    marks = {line.get_label(): line for line in figure.axes[0].lines}
    # optimum_cosine is 0.9 + 0.004 r
    assert marks["best subspace of rank 16"].get_ydata()[0] == pytest.approx(0.964**2)


def test_without_gradients_there_is_one_row(ablations):
    assert len(figure_module.draw(ablations.runs, ablations.gradients.iloc[:0], NAMES).axes) == 3


def test_nothing_to_draw_says_so(tables):
    figure = figure_module.draw(tables.runs, tables.gradients, NAMES)
    assert figure.texts[-1].get_text() == "No variant has noise."
