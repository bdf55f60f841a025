"""Differences from shared draws against those of each pair alone."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from analysis import stats
from analysis.stats.every_pair import Draws, difference, draw, draw_tasks
from tests.analysis.conftest import with_unpredicted

DRAWS = 4000
# three standard errors of a 2.5 % quantile of so many draws, in units of the spread of the draws:
# sqrt(0.025 * 0.975 / 4000) / density(1.96) = 0.042
QUANTILE = 3 * 0.042


def made(metric: str, seeds: int = 3, items: int = 120) -> pd.DataFrame:
    rng = np.random.default_rng(4)
    label = rng.integers(0, 2, items) if metric != "pearson" else rng.normal(size=items)
    parts = []
    for variant, skill in (("a", 0.9), ("b", 0.8), ("c", 0.6)):
        for seed in range(seeds):
            right = rng.random(items) < skill + 0.02 * seed
            wrong = 1 - label if metric != "pearson" else rng.normal(size=items)
            answer = np.where(right, label, wrong)
            run = {"variant": variant, "rank": 4, "seed": seed, "item": np.arange(items)}
            run |= {"metric": metric, "prediction": answer.astype(float).astype(str)}
            run |= {"label": label.astype(float).astype(str)}
            parts.append(pd.DataFrame(run | {"correct": (answer == label).astype(float)}))
    return pd.concat(parts, ignore_index=True)


POINTS = [("a", 4), ("b", 4), ("c", 4)]


def test_items_without_a_prediction_are_left_out():
    items = made("accuracy").assign(task="x", set="")
    found, other = (
        draw_tasks(table, POINTS, np.random.default_rng(0))["x"]
        for table in (items, with_unpredicted(items))
    )
    np.testing.assert_array_equal(found.drawn, other.drawn)


@pytest.mark.parametrize("metric", ["accuracy", "matthews", "f1", "pearson"])
@pytest.mark.parametrize("seeds", [1, 3])
def test_interval_is_that_of_the_pair_alone(metric, seeds):
    items = made(metric, seeds)
    shared = draw(items, POINTS, range(seeds), np.random.default_rng(0), DRAWS)
    for a, b in ((0, 1), (2, 0)):
        found = difference(shared, a, b)
        low, high = found.interval(np.random.default_rng(1))
        pair = [items[items["variant"] == POINTS[place][0]] for place in (a, b)]
        alone = stats.paired_difference(*pair, metric, np.random.default_rng(2), DRAWS)
        # float64 sums in another order
        assert found.value == pytest.approx(alone.value, abs=1e-12)
        # a quantile of each; the spread is a fourth of the interval's width
        near = np.sqrt(2) * QUANTILE * (alone.high - alone.low) / 4
        assert [low, high] == pytest.approx([alone.low, alone.high], abs=near)
        # a standard error of each, of so many draws: 1 / sqrt(2 * draws)
        off = 3 * np.sqrt(2) / np.sqrt(2 * DRAWS)
        assert found.detectable() == pytest.approx(alone.detectable, rel=off)


def test_only_common_seeds_count():
    items = made("accuracy")
    items = items[(items["variant"] != "b") | (items["seed"] == 2)]
    shared = draw(items, POINTS, range(3), np.random.default_rng(0), 100)
    value = difference(shared, 0, 1).value
    of = items[items["seed"] == 2].groupby("variant")["correct"].mean()
    assert value == pytest.approx(of["a"] - of["b"])
    nothing = draw(items[items["variant"] != "c"], POINTS, range(3), np.random.default_rng(0), 100)
    assert np.isnan(difference(nothing, 0, 2).value)


def test_mean_over_tasks_and_over_sets_need_a_seed_in_each():
    one, other = (
        draw(items, POINTS, range(3), np.random.default_rng(0), 10)
        for items in (made("accuracy"), made("accuracy").query("seed < 2"))
    )
    sets, tasks = Draws.of_task([one, other]), Draws.over_tasks([one, other])
    mean = (one.observed + other.observed)[0, :, :2] / 2
    for together in (sets, tasks):
        assert together.observed.mean(axis=0)[:, :2] == pytest.approx(mean)
        assert np.isnan(together.observed.mean(axis=0)[:, 2]).all()
        assert together.drawn.shape == (10, 3, 3)
        found = difference(together, 0, 1)
        assert found.value == pytest.approx((mean[0] - mean[1]).mean())
        assert found.per_task.mean() == pytest.approx(found.value)
    assert (len(difference(sets, 0, 1).per_task), len(difference(tasks, 0, 1).per_task)) == (1, 2)
