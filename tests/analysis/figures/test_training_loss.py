from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from analysis.figures import training_loss
from tests.analysis.conftest import NAMES, STEPS, make_tables


def test_smoothing_is_a_centred_running_mean_within_a_cell():
    table = pd.DataFrame(
        {"model": "m", "task": "t", "variant": "full", "rank": 0}
        | {"seed": np.repeat([0, 1], 60), "step": np.tile(np.arange(60), 2)}
        | {"loss": np.concatenate([np.arange(60.0) ** 2, np.full(60, 1e6)])}
    )
    smooth = training_loss.smoothed(table.sample(frac=1, random_state=0))
    first = smooth[smooth["seed"] == 0].sort_values("step")["loss"].to_numpy()
    # a window of 3: 5 % of 60 steps
    assert first[10] == pytest.approx((9**2 + 10**2 + 11**2) / 3)
    assert first[0] == pytest.approx((0 + 1) / 2)
    # the other seed's loss does not leak in
    assert first[59] == pytest.approx((58**2 + 59**2) / 2)


def test_line_is_the_mean_over_seeds_and_band_their_range(tables):
    axes = training_loss.draw(tables.losses, NAMES).axes[0]
    (line,) = [line for line in axes.lines if line.get_label() == "LoRA, r = 8"]
    smooth = training_loss.smoothed(tables.losses)
    cells = smooth.query("task == 'arithmetic' and variant == 'lora'")
    by_seed = cells.pivot(index="step", columns="seed", values="loss")
    assert line.get_ydata() == pytest.approx(by_seed.mean(axis=1).to_numpy())
    assert len(line.get_xdata()) == STEPS
    band = axes.collections[[item.get_label() for item in axes.lines].index("LoRA, r = 8")]
    extent = band.get_paths()[0].get_extents()
    assert extent.y0 == pytest.approx(by_seed.to_numpy().min())
    assert extent.y1 == pytest.approx(by_seed.to_numpy().max())


def test_every_method_and_rank_is_in_the_legend_once(tables):
    figure = training_loss.draw(tables.losses, NAMES)
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert labels == [
        "full fine-tuning",
        "LoRA, r = 8",
        "LoRA-XS, r = 4",
        "LoRA-XS, r = 16",
        "LoRA-SB, r = 4",
        "LoRA-SB, r = 16",
    ]
    assert figure.legends[0].get_title().get_text() == "mean of 3 seeds,\nband: lowest to highest"


def test_ranks_of_a_method_differ_in_width_and_shade(tables):
    lines = {
        line.get_label(): line for line in training_loss.draw(tables.losses, NAMES).axes[0].lines
    }
    small, large = lines["LoRA-SB, r = 4"], lines["LoRA-SB, r = 16"]
    assert small.get_linewidth() < large.get_linewidth()
    assert small.get_color() != large.get_color()
    assert small.get_linestyle() == large.get_linestyle()


def test_one_seed_and_no_rows():
    losses = make_tables(tasks=1, seeds=1).losses
    assert training_loss.draw(losses, NAMES).legends[0].get_title().get_text() == "1 seed"
    empty = training_loss.draw(losses.iloc[:0], NAMES)
    assert empty.texts[-1].get_text() == "No training was logged."
    assert not empty.axes
