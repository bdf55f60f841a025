"""Paired differences against slow twins and scipy, and simulations with a known truth."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats as scipy_stats

from analysis import stats


def items_table(predictions: np.ndarray, label: np.ndarray) -> pd.DataFrame:
    """Predictions (seeds, items) as the tidy table `items`."""
    seeds, items = predictions.shape
    return pd.DataFrame(
        {
            "seed": np.repeat(np.arange(seeds), items),
            "item": np.tile(np.arange(items), seeds),
            "prediction": predictions.ravel(),
            "label": np.tile(label, seeds),
            "correct": (predictions == label).ravel().astype(float),
        }
    )


def classifiers(rng, seeds: int, items: int, accuracies=(0.8, 0.7)):
    label = rng.integers(0, 2, items)
    hits = [rng.random((seeds, items)) < accuracy for accuracy in accuracies]
    return label, *(np.where(hit, label, 1 - label) for hit in hits)


class TestPairedDifference:
    @pytest.mark.parametrize("metric", ["accuracy", "matthews", "f1", "pearson", "spearman"])
    def test_value_is_the_difference_of_seed_averages(self, metric):
        rng = np.random.default_rng(5)
        label, a, b = classifiers(rng, seeds=3, items=50)
        found = stats.paired_difference(
            items_table(a, label), items_table(b, label), metric, rng, resamples=10
        )
        expected = stats.score(metric, a, label).mean() - stats.score(metric, b, label).mean()
        assert found.value == pytest.approx(expected, abs=1e-12)
        assert (found.items, found.seeds) == (50, 3)

    # an offset of one method's predictions leaves its correlation, but not that of swapped ones
    @pytest.mark.parametrize(
        ("metric", "offset"), [("accuracy", 0), ("matthews", 0), ("pearson", 0), ("pearson", 1)]
    )
    def test_p_value_equals_scipys_permutation_test(self, metric, offset):
        rng = np.random.default_rng(6)
        label, a, b = classifiers(rng, seeds=2, items=12)
        b = b + offset

        def statistic(first, second):
            # an entry 0 takes the item from a, 1 from b, for all seeds
            scores = [
                np.mean(stats.score(metric, np.where(picks == 0, a, b), label))
                for picks in (first, second)
            ]
            return scores[0] - scores[1]

        exact = scipy_stats.permutation_test(
            (np.zeros(12), np.ones(12)), statistic, permutation_type="samples", n_resamples=np.inf
        )
        found = stats.paired_difference(
            items_table(a, label), items_table(b, label), metric, rng, resamples=20_000
        )
        # 0.011: three standard errors of 20,000 draws at p = 0.5
        assert found.p_value == pytest.approx(exact.pvalue, abs=0.011)

    def test_smallest_p_value_is_one_over_the_draws(self):
        label = np.ones(60)
        right, wrong = (items_table(np.full((2, 60), value), label) for value in (1, 0))
        found = stats.paired_difference(right, wrong, "accuracy", np.random.default_rng(0), 99)
        assert found.p_value == 0.01

    def test_bootstrap_over_seeds_is_widened_for_their_number(self):
        # one seed of three is right on every item, the others on none: items do not matter
        label, hits = np.ones(20), np.repeat([[1.0], [0.0], [0.0]], 20, axis=1)
        found = stats.paired_difference(
            items_table(hits, label),
            items_table(np.zeros_like(hits), label),
            "accuracy",
            np.random.default_rng(0),
            resamples=4000,
        )
        # 1 of 27 draws has the good seed three times, 8 of 27 never: both quantiles are extremes
        widen = math.sqrt(3 / 2) * 4.302653 / 1.959964
        expected = (1 / 3 - widen / 3, 1 / 3 + widen * 2 / 3)
        # seven digits of the tables
        assert (found.low, found.high) == pytest.approx(expected, abs=1e-6)

    def test_bootstrap_over_items_equals_resampling_written_out(self):
        rng = np.random.default_rng(7)
        label, a, b = classifiers(rng, seeds=1, items=40)
        found = stats.paired_difference(
            items_table(a, label), items_table(b, label), "matthews", rng, resamples=4000
        )
        draws = []
        for _ in range(4000):
            picks = rng.integers(40, size=40)
            scores = [stats.score("matthews", rows[0, picks], label[picks]) for rows in (a, b)]
            draws.append(scores[0] - scores[1])
        # 0.03: about three standard errors of a 2.5 % quantile of 4000 draws, whose spread is 0.15
        assert (found.low, found.high) == pytest.approx(
            np.quantile(draws, [0.025, 0.975]), abs=0.03
        )

    def test_without_item_noise_the_interval_is_students_t_of_the_seeds(self):
        # each seed is right on all items or on none but one: only seeds vary
        label = np.ones(400)
        shares = np.array([0.7, 0.8, 0.75, 0.85, 0.6, 0.9, 0.72, 0.78])
        a = (np.arange(400) < 400 * shares[:, None]).astype(float)
        found = stats.paired_difference(
            items_table(a, label),
            items_table(np.zeros_like(a), label),
            "accuracy",
            np.random.default_rng(8),
            resamples=4000,
        )
        expected = stats.mean_interval(shares)
        # items still vary: their standard error, 0.02, adds to 0.033 of the seeds in squares
        wider = math.hypot((expected.high - expected.low) / 2, 1.96 * 0.02)
        # 0.01: error of a quantile of 4000 draws, and of percentiles of 8 values
        assert (found.high - found.low) / 2 == pytest.approx(wider, abs=0.01)

    @pytest.mark.parametrize(("seed_spread", "seeds"), [(0.1, 2), (1.0, 3), (0.3, 5)])
    def test_interval_covers_the_truth(self, seed_spread, seeds):
        rng = np.random.default_rng(9)
        covered = []
        for _ in range(150):
            difficulty = rng.normal(0, 1.5, 80)
            own = rng.normal(0, 1, (2, 1, 80)) + rng.normal(0, 0.5, (2, seeds, 80))
            skill = 1.2 + rng.normal(0, seed_spread, (2, seeds, 1))
            a, b = (skill + difficulty + own > 0).astype(float)
            found = stats.paired_difference(
                items_table(a, np.ones(80)), items_table(b, np.ones(80)), "accuracy", rng, 200
            )
            covered.append(found.low <= 0 <= found.high)
        # 0.05 below the nominal 0.95 is three standard errors of 150 draws; a plain bootstrap over
        # two or three seeds covers 0.6 to 0.8
        assert np.mean(covered) > 0.90

    def test_p_values_of_equal_methods_are_uniform(self):
        rng = np.random.default_rng(10)
        p_values = []
        for _ in range(200):
            label, a, b = classifiers(rng, seeds=3, items=60, accuracies=(0.7, 0.7))
            tables = items_table(a, label), items_table(b, label)
            p_values.append(stats.paired_difference(*tables, "accuracy", rng, 200).p_value)
        # 0.046: three standard errors of 200 draws at 0.05
        assert np.mean(np.array(p_values) < 0.05) == pytest.approx(0.05, abs=0.046)

    def test_same_predictions_do_not_differ(self):
        label, a, _ = classifiers(np.random.default_rng(11), seeds=3, items=30)
        table = items_table(a, label)
        found = stats.paired_difference(table, table, "accuracy", np.random.default_rng(0), 100)
        assert (found.value, found.low, found.high, found.p_value) == (0, 0, 0, 1)

    def test_only_common_seeds_count(self):
        rng = np.random.default_rng(12)
        label, a, b = classifiers(rng, seeds=3, items=30)
        table_b = items_table(b, label)
        found = stats.paired_difference(
            items_table(a, label), table_b[table_b["seed"] != 1], "accuracy", rng, 50
        )
        expected = (a[[0, 2]] == label).mean() - (b[[0, 2]] == label).mean()
        assert found.seeds == 2
        assert found.value == pytest.approx(expected, abs=1e-12)

    def test_no_common_seed_is_nan(self):
        label, a, b = classifiers(np.random.default_rng(13), seeds=1, items=30)
        other = items_table(b, label).assign(seed=5)
        found = stats.paired_difference(
            items_table(a, label), other, "accuracy", np.random.default_rng(0), 50
        )
        assert math.isnan(found.value)
        assert (found.items, found.seeds) == (30, 0)

    def test_order_of_rows_does_not_matter_and_same_generator_gives_same_numbers(self):
        label, a, b = classifiers(np.random.default_rng(14), seeds=3, items=30)
        first, second = items_table(a, label), items_table(b, label)
        shuffled = second.sample(frac=1, random_state=0)
        one, other = (
            stats.paired_difference(first, table, "f1", np.random.default_rng(0), 100)
            for table in (second, shuffled)
        )
        assert one == other

    @pytest.mark.parametrize("metric", ["accuracy", "f1", "pearson"])
    def test_text_is_read_as_the_numbers_that_it_stands_for(self, metric):
        label, a, b = classifiers(np.random.default_rng(18), seeds=2, items=30)
        tables = [items_table(one, label) for one in (a, b)]
        texts = [table.astype({"prediction": str, "label": str}) for table in tables]
        of_text, of_numbers = (
            stats.paired_difference(*pair, metric, np.random.default_rng(0), 50)
            for pair in (texts, tables)
        )
        assert of_text == of_numbers

    def test_generated_answers_are_compared_by_their_verdicts(self):
        label, a, b = classifiers(np.random.default_rng(19), seeds=2, items=30)
        tables = [items_table(one, label) for one in (a, b)]
        replies = [table.assign(prediction=None, label="option1") for table in tables]
        of_replies, of_classes = (
            stats.paired_difference(*pair, "accuracy_flexible", np.random.default_rng(0), 50)
            for pair in (replies, tables)
        )
        assert of_replies == of_classes

    def test_different_items_are_refused(self):
        label, a, b = classifiers(np.random.default_rng(15), seeds=2, items=30)
        other = items_table(b, label)
        with pytest.raises(ValueError, match="same items"):
            stats.paired_difference(
                items_table(a, label), other[other["item"] > 0], "f1", np.random.default_rng(0)
            )


class TestPairedDifferences:
    """Many pairs at once: `a` has one seed less than `b` and `c`."""

    PAIRS = ((("a", 1), ("b", 1)), (("b", 1), ("c", 1)))

    @staticmethod
    def made() -> dict[str, pd.DataFrame]:
        rng = np.random.default_rng(20)
        label, *answers = classifiers(rng, seeds=3, items=90, accuracies=(0.8, 0.7, 0.75))
        tables = [items_table(each, label) for each in answers]
        tables[0] = tables[0][tables[0]["seed"] != 1]
        named = zip("abc", tables, strict=True)
        return {name: table.assign(variant=name, rank=1) for name, table in named}

    @pytest.mark.parametrize("metric", ["accuracy", "f1", "matthews", "spearman"])
    def test_each_is_that_of_the_pair_alone(self, metric):
        tables = self.made()
        found = stats.paired_differences(
            pd.concat(tables.values()), metric, self.PAIRS, np.random.default_rng(0), 4000
        )
        for ((a, _), (b, _)), one in zip(self.PAIRS, found, strict=True):
            rng = np.random.default_rng(1)
            alone = stats.paired_difference(tables[a], tables[b], metric, rng, 4000)
            assert one.value == pytest.approx(alone.value, abs=1e-12)
            assert (one.items, one.seeds) == (alone.items, alone.seeds)
            # three standard errors: of a 2.5 % quantile, 0.042 of the spread, and of a share, both
            # of 4000 draws, and of two
            near = 3 * 0.042 * math.sqrt(2) * (alone.high - alone.low) / 4
            assert (one.low, one.high) == pytest.approx((alone.low, alone.high), abs=near)
            off = 3 * math.sqrt(2 * alone.p_value * (1 - alone.p_value) / 4000)
            assert one.p_value == pytest.approx(alone.p_value, abs=off)

    def test_more_permutations_are_drawn_only_where_hardly_any_goes_as_far(self):
        label, some, other = classifiers(np.random.default_rng(7), seeds=2, items=60)
        answers = {"right": label, "wrong": 1 - label, "some": some, "other": other, "twin": label}
        items = pd.concat(
            items_table(np.broadcast_to(each, (2, 60)), label).assign(variant=name, rank=1)
            for name, each in answers.items()
        )
        pairs = [(("right", 1), (name, 1)) for name in ("wrong", "twin")]
        pairs.append((("some", 1), ("other", 1)))
        (least, twins, few), (lower, still, same) = (
            [
                found.p_value
                for found in stats.paired_differences(
                    items, "accuracy", pairs, np.random.default_rng(0), 99, permutations=number
                )
            ]
            for number in (0, 999)
        )
        assert (least, lower) == (0.01, 0.001)
        assert twins == still == 1
        assert 0.1 < few < 1
        assert few == same

    def test_without_a_pair_there_is_nothing(self):
        items = pd.concat(self.made().values())
        assert stats.paired_differences(items, "f1", [], np.random.default_rng(0), 10) == []

    def test_other_labels_are_refused(self):
        tables = self.made()
        tables["c"] = tables["c"].assign(label=1 - tables["c"]["label"])
        items = pd.concat(tables.values())
        with pytest.raises(ValueError, match="same items"):
            stats.paired_differences(items, "accuracy", self.PAIRS, np.random.default_rng(0), 10)


class TestHolm:
    def test_worked_example(self):
        # 0.01 x 4, 0.02 x 3, max(0.03 x 2, before), max(0.04 x 1, before)
        assert stats.holm([0.04, 0.01, 0.03, 0.02]) == pytest.approx([0.06, 0.04, 0.06, 0.06])

    def test_never_above_one_nor_below_the_p_value(self):
        p = np.random.default_rng(16).random(20)
        adjusted = stats.holm(p)
        assert (adjusted >= p).all()
        assert adjusted.max() == 1

    def test_nan_does_not_count(self):
        adjusted = stats.holm([0.01, np.nan, 0.02])
        assert adjusted[[0, 2]] == pytest.approx([0.02, 0.02])
        assert math.isnan(adjusted[1])
