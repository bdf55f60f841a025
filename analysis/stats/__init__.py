"""Intervals over seeds, metrics from items, paired differences between methods."""

from analysis.stats.intervals import (
    CUT,
    LOGIT,
    Interval,
    mean_interval,
    means,
    score_interval,
    score_means,
)
from analysis.stats.metrics import bounds, item_score, score
from analysis.stats.paired import Difference, holm, paired_difference, paired_differences
from analysis.stats.resampled import LEVEL, MARGIN, Resampled

__all__ = [
    "CUT",
    "LEVEL",
    "LOGIT",
    "MARGIN",
    "Difference",
    "Interval",
    "Resampled",
    "bounds",
    "holm",
    "item_score",
    "mean_interval",
    "means",
    "paired_difference",
    "paired_differences",
    "score",
    "score_interval",
    "score_means",
]
