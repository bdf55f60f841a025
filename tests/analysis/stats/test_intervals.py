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
