"""Intervals over seeds, metrics from items, paired differences between methods."""

from analysis.stats.intervals import Interval, mean_interval, means
from analysis.stats.metrics import item_score, score
from analysis.stats.paired import Difference, holm, paired_difference

__all__ = [
    "Difference",
    "Interval",
    "holm",
    "item_score",
    "mean_interval",
    "means",
    "paired_difference",
    "score",
]
