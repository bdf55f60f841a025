"""Metrics against scipy and scikit-learn."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats as scipy_stats
from sklearn import metrics as sklearn_metrics

from analysis import stats

LABELS = np.array([0, 1, 1, 0, 1, 0, 1, 1, 0, 1, 1, 0])


class TestMetrics:
    @pytest.mark.parametrize(
        ("metric", "twin"),
        [
            ("accuracy_strict", sklearn_metrics.accuracy_score),
            ("f1", sklearn_metrics.f1_score),
            ("matthews", sklearn_metrics.matthews_corrcoef),
        ],
    )
    def test_of_classes_equal_scikit_learn(self, metric, twin):
        rng = np.random.default_rng(2)
        predictions = np.where(rng.random((4, 12)) < 0.7, LABELS, 1 - LABELS)
        expected = [twin(LABELS, row) for row in predictions]
        # rounding of float64 sums
        assert stats.score(metric, predictions, LABELS) == pytest.approx(expected, abs=1e-12)

    def test_matthews_of_three_classes_equals_scikit_learn(self):
        rng = np.random.default_rng(3)
        label, prediction = rng.integers(0, 3, (2, 40))
        expected = sklearn_metrics.matthews_corrcoef(label, prediction)
        assert stats.score("matthews", prediction, label) == pytest.approx(expected, abs=1e-12)

    def test_f1_of_six_classes_equals_scikit_learns_macro_f1(self):
        rng = np.random.default_rng(6)
        label = rng.integers(0, 5, 60)
        # class 5 is only predicted, and not by all
        predictions = np.where(rng.random((3, 60)) < 0.7, label, rng.integers(0, 5, (3, 60)))
        predictions[0, :4] = 5
        expected = [sklearn_metrics.f1_score(label, row, average="macro") for row in predictions]
        assert stats.score("f1", predictions, label) == pytest.approx(expected, abs=1e-12)

    @pytest.mark.parametrize(
        ("metric", "twin"),
        [("pearson", scipy_stats.pearsonr), ("spearman", scipy_stats.spearmanr)],
    )
    def test_correlations_equal_scipy_with_ties(self, metric, twin):
        rng = np.random.default_rng(4)
        label = rng.uniform(0, 5, 30).round()
        predictions = (label + rng.normal(size=(3, 30))).round(1)
        expected = [twin(row, label)[0] for row in predictions]
        assert stats.score(metric, predictions, label) == pytest.approx(expected, abs=1e-12)

    @pytest.mark.parametrize("metric", ["matthews", "pearson", "spearman", "f1"])
    def test_constant_predictions_are_zero(self, metric):
        assert (
            stats.score(metric, np.zeros(12) if metric == "f1" else np.full(12, 0.1), LABELS) == 0
        )

    def test_unknown_metric_is_named(self):
        with pytest.raises(ValueError, match="bleu"):
            stats.score("bleu", LABELS, LABELS)

    def test_item_score_of_generation_reads_correct(self):
        table = pd.DataFrame({"prediction": None, "label": "a", "correct": [1.0] * 12})
        table.loc[:2, "correct"] = 0.0
        assert stats.item_score("accuracy_flexible", table) == pytest.approx(9 / 12)
