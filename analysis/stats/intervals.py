"""Means with intervals over seeds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import stats


@dataclass(frozen=True)
class Interval:
    """A mean, its interval and the number of values; the bounds are NaN where it cannot be told."""

    mean: float
    low: float
    high: float
    n: int


def mean_interval(
    values: Sequence[float] | npt.NDArray[np.float64], confidence: float = 0.95
) -> Interval:
    """Mean and Student's t interval of independent values, such as the scores of the seeds.

    One value has no interval: its bounds are NaN. No value: the mean is NaN too.
    """
    array = np.asarray(values, dtype=np.float64)
    n = array.size
    if n < 2:
        return Interval(float(array[0]) if n else np.nan, np.nan, np.nan, n)
    mean = float(array.mean())
    half = float(stats.t.ppf((1 + confidence) / 2, n - 1) * stats.sem(array))
    return Interval(mean, mean - half, mean + half, n)


def means(table: pd.DataFrame, keys: list[str], value: str) -> pd.DataFrame:
    """`mean_interval` of a column in each group, in order of appearance.

    Columns: the keys, then mean, low, high, n. NaN values are left out.
    """
    rows = [
        dict(zip(keys, key, strict=True)) | vars(mean_interval(group.dropna().to_numpy(float)))
        for key, group in table.groupby(keys, sort=False)[value]
    ]
    return pd.DataFrame(rows, columns=[*keys, "mean", "low", "high", "n"])
