"""Means with intervals over seeds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import special

from analysis.stats.metrics import bounds

T, LOGIT, CUT = "t", "logit", "cut"  # kinds of a score's interval


@dataclass(frozen=True)
class Interval:
    """A mean, its interval and the number of values; the bounds are NaN where it cannot be told."""

    mean: float
    low: float
    high: float
    n: int


@dataclass(frozen=True)
class ScoreInterval(Interval):
    """The same within the range of a metric; `interval` says how it was found."""

    interval: str


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
    error = array.std(ddof=1) / n**0.5
    half = float(special.stdtrit(n - 1, (1 + confidence) / 2) * error)
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


def score_interval(
    values: Sequence[float] | npt.NDArray[np.float64], low: float = 0.0, high: float = 1.0
) -> ScoreInterval:
    """Mean and 95 % interval of scores, which no metric takes out of [low, high].

    Student's t interval where it stays inside (`t`). Otherwise that of the logits of the values'
    places between low and high, turned back (`logit`; of a correlation, Fisher's z); it has no
    bound where a value is low or high itself: then t, cut at the range (`cut`).
    """
    array = np.asarray(values, dtype=np.float64)
    plain = mean_interval(array)
    if plain.n < 2 or (low <= plain.low and plain.high <= high):
        return ScoreInterval(**vars(plain), interval=T)
    places = (array - low) / (high - low)
    if places.min() <= 0 or places.max() >= 1:
        inside = (max(plain.low, low), min(plain.high, high))
        return ScoreInterval(plain.mean, *inside, plain.n, CUT)
    logits = mean_interval(special.logit(places))
    ends = low + (high - low) * special.expit([logits.low, logits.high])
    return ScoreInterval(plain.mean, float(ends[0]), float(ends[1]), plain.n, LOGIT)


def score_means(table: pd.DataFrame, keys: list[str], value: str = "score") -> pd.DataFrame:
    """`score_interval` of a column in each group, in order of appearance.

    Each row's `metric` says where its score may lie. Columns: the keys, then mean, low, high, n,
    interval. NaN values are left out.
    """
    rows = [
        dict(zip(keys, key, strict=True))
        | vars(score_interval(group[value].dropna().to_numpy(float), *_widest(group["metric"])))
        for key, group in table.groupby(keys, sort=False)
    ]
    return pd.DataFrame(rows, columns=[*keys, "mean", "low", "high", "n", "interval"])


def _widest(metrics: pd.Series) -> tuple[float, float]:
    lows, highs = zip(*map(bounds, metrics.unique()), strict=True)
    return min(lows), max(highs)
