"""Intervals against Student's t written out, and simulations with a known truth."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest

from analysis import stats


class TestMeanInterval:
    def test_equals_student_t_written_out(self):
        values = [0.80, 0.83, 0.79]
        mean = sum(values) / 3
        deviation = math.sqrt(sum((value - mean) ** 2 for value in values) / 2)
        # 4.302653: the 97.5 % quantile of t with 2 degrees of freedom, from tables
        half = 4.302653 * deviation / math.sqrt(3)
        found = stats.mean_interval(values)
        # float64 operations for the mean, seven digits of the table for the bounds
        assert found.mean == pytest.approx(mean, abs=1e-12)
        assert (found.low, found.high) == pytest.approx((mean - half, mean + half), abs=1e-7)
        assert found.n == 3

    def test_one_value_has_no_interval(self):
        found = stats.mean_interval([0.5])
        assert (found.mean, found.n) == (0.5, 1)
        assert math.isnan(found.low)
        assert math.isnan(found.high)

    def test_no_value(self):
        found = stats.mean_interval([])
        assert math.isnan(found.mean)
        assert found.n == 0

    def test_covers_the_truth_as_often_as_it_says(self):
        rng = np.random.default_rng(1)
        samples = rng.normal(0.7, 0.02, size=(2000, 3))
        intervals = [stats.mean_interval(sample) for sample in samples]
        covered = np.mean([found.low <= 0.7 <= found.high for found in intervals])
        # 0.015: three standard errors of 2000 draws at 0.95
        assert covered == pytest.approx(0.95, abs=0.015)

    def test_means_group_in_order_and_leave_out_nan(self):
        table = pd.DataFrame({"key": ["b", "b", "a"], "score": [0.2, 0.4, np.nan]})
        found = stats.means(table, ["key"], "score")
        assert list(found["key"]) == ["b", "a"]
        assert found.loc[0, "mean"] == pytest.approx(0.3)
        assert list(found["n"]) == [2, 0]


class TestScoreInterval:
    @pytest.mark.parametrize("low", [0.0, -1.0])
    def test_inside_the_range_it_is_student_t(self, low):
        values = [0.80, 0.83, 0.79]
        found, plain = stats.score_interval(values, low), stats.mean_interval(values)
        assert vars(found) == vars(plain) | {"interval": "t"}

    @pytest.mark.parametrize(
        "values", [[0.720, 0.940, 0.777], [0.01, 0.02, 0.15], [0.55, 0.99, 0.93], [0.97, 0.999]]
    )
    def test_where_t_leaves_the_range_it_is_that_of_the_logits(self, values):
        plain, found = stats.mean_interval(values), stats.score_interval(values)
        assert plain.low < 0 or plain.high > 1
        logits = stats.mean_interval([math.log(value / (1 - value)) for value in values])
        expected = [1 / (1 + math.exp(-end)) for end in (logits.low, logits.high)]
        # float64 operations
        assert [found.low, found.high] == pytest.approx(expected, abs=1e-12)
        assert 0 < found.low < found.mean < found.high < 1
        assert (found.mean, found.n, found.interval) == (plain.mean, len(values), "logit")

    def test_of_a_correlation_it_is_fisher_z(self):
        values = [0.90, 0.99, 0.60]
        found = stats.score_interval(values, -1.0)
        z = stats.mean_interval(np.arctanh(values))
        assert [found.low, found.high] == pytest.approx(np.tanh([z.low, z.high]), abs=1e-12)

    @pytest.mark.parametrize("values", [[1.0, 0.9, 0.95], [0.0, 0.1, 0.3]])
    def test_a_value_at_the_end_has_no_logit_and_t_is_cut(self, values):
        plain, found = stats.mean_interval(values), stats.score_interval(values)
        assert [found.low, found.high] == [max(plain.low, 0.0), min(plain.high, 1.0)]
        assert found.interval == "cut"

    @pytest.mark.parametrize("values", [[], [0.5], [1.0, 1.0, 1.0]])
    def test_what_has_no_width_or_one_value_is_as_without_a_range(self, values):
        assert stats.score_interval(values).interval == "t"

    def test_means_take_the_range_of_their_metric(self):
        values = [0.02, 0.03, 0.20]
        table = pd.DataFrame(
            [(metric, value) for metric in ("accuracy", "matthews") for value in values],
            columns=["metric", "score"],
        )
        accuracy, matthews = stats.score_means(table, ["metric"]).itertuples()
        assert (accuracy.interval, matthews.interval) == ("logit", "t")
        assert accuracy.low > 0 > matthews.low
        assert accuracy.mean == matthews.mean


@pytest.mark.parametrize(
    ("metric", "expected"),
    [
        ("accuracy_strict", (0, 1)),
        ("f1", (0, 1)),
        ("choice_norm", (0, 1)),
        ("matthews", (-1, 1)),
        ("pearson", (-1, 1)),
        ("spearman", (-1, 1)),
        ("answer_loss", (0, math.inf)),
        ("likelihood", (-math.inf, math.inf)),
    ],
)
def test_intervals_stay_within_what_the_metric_can_be(metric, expected):
    assert stats.bounds(metric) == expected
    values = [0.999, 0.6, 0.998] if expected[1] == 1 else [3.0, 1.0, 2.5]
    table = pd.DataFrame({"metric": metric, "score": values, "key": 1})
    row = stats.score_means(table, ["key"]).iloc[0]
    assert expected[0] <= row["low"] < row["mean"] < row["high"] <= expected[1]
    kinds = {1: "logit", math.inf: "t" if expected[0] else "cut"}
    assert row["interval"] == kinds[expected[1]]
