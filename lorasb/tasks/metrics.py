"""Metrics as `evaluate.Metric` classes, constructed directly.

`evaluate.load` would ask the network. The mathematics is scikit-learn's and SciPy's.
"""

from __future__ import annotations

from collections.abc import Sequence
from tempfile import TemporaryDirectory
from typing import Any

import evaluate
import numpy as np
from datasets import Features, Value
from scipy import stats
from sklearn.metrics import accuracy_score, f1_score, matthews_corrcoef


class _Metric(evaluate.Metric):  # type: ignore[misc]
    """A metric of two equally long sequences; a subclass says of what type, and computes."""

    dtype = "int64"

    def _info(self) -> evaluate.MetricInfo:
        features = Features({"predictions": Value(self.dtype), "references": Value(self.dtype)})
        return evaluate.MetricInfo(
            description=type(self).__doc__ or "",
            citation="",
            inputs_description="predictions and references: lists of the same length",
            features=features,
        )


class Accuracy(_Metric):
    """Share of predicted classes that are right."""

    def _compute(self, predictions: Sequence[int], references: Sequence[int]) -> dict[str, float]:
        return {"accuracy": float(accuracy_score(references, predictions))}


class Matthews(_Metric):
    """Matthews correlation of classes; 0 where all predictions or all references are one class."""

    def _compute(self, predictions: Sequence[int], references: Sequence[int]) -> dict[str, float]:
        return {"matthews": float(matthews_corrcoef(references, predictions))}


class F1(_Metric):
    """F1 of class 1 of two; of more, the mean F1 of those predicted or there (macro F1).

    0 where class 1 of two is neither predicted nor there.
    """

    def _compute(
        self, predictions: Sequence[int], references: Sequence[int], average: str
    ) -> dict[str, float]:
        found = f1_score(references, predictions, average=average, zero_division=0.0)
        return {"f1": float(found)}


class Pearson(_Metric):
    """Pearson correlation; 0 where predictions or references are constant (see `_correlation`)."""

    dtype = "float64"

    def _compute(
        self, predictions: Sequence[float], references: Sequence[float]
    ) -> dict[str, float]:
        return {"pearson": _correlation(stats.pearsonr, predictions, references)}


class Spearman(_Metric):
    """Spearman rank correlation, ties at their mean rank; 0 where one side is constant."""

    dtype = "float64"

    def _compute(
        self, predictions: Sequence[float], references: Sequence[float]
    ) -> dict[str, float]:
        return {"spearman": _correlation(stats.spearmanr, predictions, references)}


METRICS: dict[str, type[_Metric]] = {
    "accuracy": Accuracy,
    "f1": F1,
    "matthews": Matthews,
    "pearson": Pearson,
    "spearman": Spearman,
}


def compute(
    name: str, predictions: Sequence[Any], references: Sequence[Any], classes: int = 2
) -> float:
    """The value of one metric, of at least one item; F1 is macro F1 of more than two classes."""
    options = {"average": "binary" if classes == 2 else "macro"} if name == "f1" else {}
    with TemporaryDirectory() as folder:
        # an evaluate metric makes a cache folder even where it works in memory
        metric = METRICS[name](cache_dir=folder, keep_in_memory=True)
        values = metric.compute(predictions=predictions, references=references, **options)
        return float(values[name])


def _correlation(function: Any, predictions: Sequence[float], references: Sequence[float]) -> float:
    """A correlation, with 0 for constant input, where it is not defined.

    A model that says the same of everything tells nothing about the order; 0 says so, and keeps
    means over seeds defined where one seed collapsed.
    """
    if np.ptp(predictions) == 0 or np.ptp(references) == 0:
        return 0.0
    return float(function(predictions, references).statistic)
