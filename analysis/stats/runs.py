"""Runs of several methods on the same test items, and their scores under weights of these items."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from analysis.stats.metrics import Bools, Floats, Value, parts

Point = tuple[str, int]  # variant, rank

_BATCH = 1000  # resamples at a time; bounds the memory to 8 kB an item


@dataclass(frozen=True)
class Runs:
    """What a metric averages over items, (points, seeds, items, k), and where there is a run.

    `value` makes the metric of such averages; `there` has shape (points, seeds).
    """

    features: Floats
    there: Bools
    value: Value

    @classmethod
    def of(
        cls, items: pd.DataFrame, metric: str, points: Sequence[Point], seeds: Sequence[int]
    ) -> Runs:
        """The runs of one task, or of one evaluation set.

        Parameters
        ----------
        items
            Columns variant, rank, seed, item, prediction, label, correct.
        metric
            As in `score`; accuracy reads `correct`.

        Raises
        ------
        ValueError
            If runs do not have the same items and labels.
        """
        hits = metric.startswith("accuracy")
        # a table of predictions holds numbers as text, beside generated answers
        values = items.assign(value=items["correct" if hits else "prediction"].astype(float))
        runs = values.pivot(index=["variant", "rank", "seed"], columns="item", values="value")
        labels = items[["item", "label"]].drop_duplicates().set_index("item")["label"]
        if runs.isna().to_numpy().any() or len(labels) > runs.shape[1]:
            raise ValueError("paired difference: the methods were not scored on the same items")
        labels = labels.reindex(runs.columns)
        label = np.ones(len(labels)) if hits else labels.to_numpy(float)
        features, value = parts(metric)
        found = features(runs.to_numpy(float), label)
        wanted = pd.MultiIndex.from_tuples(
            [(*point, seed) for point in points for seed in seeds], names=runs.index.names
        )
        places = runs.index.get_indexer(wanted)
        shape = len(points), len(seeds)
        there = (places >= 0).reshape(shape)
        return cls(found[places].reshape(*shape, *found.shape[1:]), there, value)

    @property
    def items(self) -> int:
        """How many items each run has."""
        return self.features.shape[2]

    def observed(self) -> Floats:
        """Scores as they are: (points, seeds), NaN without a run."""
        return self._scores(self.features.mean(axis=2))

    def drawn(self, draws: int, rng: np.random.Generator) -> Floats:
        """Scores under draws of the items with replacement: (draws, points, seeds)."""
        batches = _item_weights(self.items, draws, rng)
        return np.concatenate([self._scores(self.weighted(weights)) for weights in batches])

    def weighted(self, weights: Floats) -> Floats:
        """Sums over items by weights (draws, items): (draws, points, seeds, k)."""
        return np.asarray(np.tensordot(weights, self.features, axes=(1, 2)))

    def _scores(self, averages: Floats) -> Floats:
        return np.where(self.there, self.value(averages), np.nan)


def swaps(items: int, draws: int, rng: np.random.Generator) -> Iterator[Floats]:
    """Random halves of the items, in batches (draws, items): 1 / items for those inside, or 0."""
    for rows in _batches(draws):
        yield rng.integers(2, size=(rows, items)) / items


def _item_weights(items: int, draws: int, rng: np.random.Generator) -> Iterator[Floats]:
    """How often each item is drawn with replacement, over their number: (batch, items)."""
    for rows in _batches(draws):
        flat = rng.integers(items, size=(rows, items)) + items * np.arange(rows)[:, None]
        counts = np.bincount(flat.ravel(), minlength=rows * items).reshape(rows, items)
        yield counts / items


def _batches(draws: int) -> list[int]:
    return [min(_BATCH, draws - start) for start in range(0, draws, _BATCH)]
