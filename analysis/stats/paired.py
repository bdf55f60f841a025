"""Paired differences between methods, on the same items and seeds."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from analysis.stats.metrics import Floats, Value, parts
from analysis.stats.resampled import Resampled

_BATCH = 1000  # resamples at a time; bounds the memory to 8 kB an item
# a p-value of so many permutations that go as far is known well enough
_HITS = 10


@dataclass(frozen=True)
class Difference:
    """Score of method a minus score of method b; `detectable` and `p_equivalent` of `Resampled`."""

    value: float
    low: float
    high: float
    p_value: float
    detectable: float
    p_equivalent: float
    items: int
    seeds: int


def paired_difference(
    items_a: pd.DataFrame,
    items_b: pd.DataFrame,
    metric: str,
    rng: np.random.Generator,
    resamples: int = 9999,
    *,
    permutations: int = 0,
) -> Difference:
    """Difference of the seed-averaged scores of two methods on the same items and seeds.

    Parameters
    ----------
    items_a, items_b
        Columns seed, item, prediction, label, correct. Seeds that only one has are left out.
    metric
        As in `score`; accuracy reads `correct`.
    resamples
        Draws of the bootstrap, and of the permutation test.
    permutations
        Draws of the permutation test where `resamples` of them hardly ever go as far: no p-value is
        below one in so many, which an adjustment for many comparisons needs to be small.

    Returns
    -------
    The 95 % interval (`Resampled.interval`) is for other test items and other seeds; draws of items
    are the same for both methods. With one seed it is for other items only. Without a common seed
    everything but the counts is NaN.

    The p-value is that of a two-sided permutation test that swaps the two methods' predictions of
    an item, for all its seeds together (approximate randomisation, Noreen 1989). It is about these
    trained models: it knows of no other seeds.

    Raises
    ------
    ValueError
        If the two do not have the same items and labels.
    """
    features, value = parts(metric)
    predictions, label = _aligned(items_a, items_b, metric)
    _, seeds, items = predictions.shape
    if not seeds:
        return Difference(np.nan, np.nan, np.nan, np.nan, np.nan, np.nan, items, 0)
    pair = features(predictions, label)
    found = Resampled(
        _over_items(pair, value, resamples, rng), _difference(value(pair.mean(axis=2)))
    )
    low, high = found.interval(rng)
    drawn, hits = resamples, _hits(pair, value, found.value, resamples, rng)
    if hits < _HITS and permutations > drawn:
        hits += _hits(pair, value, found.value, permutations - drawn, rng)
        drawn = permutations
    return Difference(
        value=found.value,
        low=float(low),
        high=float(high),
        p_value=(1 + hits) / (1 + drawn),
        detectable=found.detectable(),
        p_equivalent=found.p_equivalent,
        items=items,
        seeds=seeds,
    )


def holm(p_values: Sequence[float] | Floats) -> Floats:
    """P-values adjusted for their number by Holm's step-down method (1979); NaN are left out."""
    adjusted = np.array(p_values, dtype=np.float64)
    order = np.argsort(adjusted)[: np.count_nonzero(~np.isnan(adjusted))]
    stepped = np.maximum.accumulate(adjusted[order] * np.arange(order.size, 0, -1))
    adjusted[order] = np.minimum(stepped, 1.0)
    return adjusted


def item_weights(items: int, resamples: int, rng: np.random.Generator) -> Iterator[Floats]:
    """How often each item is drawn with replacement, over their number: (batch, items)."""
    for start in range(0, resamples, _BATCH):
        rows = min(_BATCH, resamples - start)
        flat = rng.integers(items, size=(rows, items)) + items * np.arange(rows)[:, None]
        counts = np.bincount(flat.ravel(), minlength=rows * items).reshape(rows, items)
        yield counts / items


def _aligned(items_a: pd.DataFrame, items_b: pd.DataFrame, metric: str) -> tuple[Floats, Floats]:
    """Predictions of both on their common seeds, (2, seeds, items), and labels, (items,)."""
    seeds = sorted(set(items_a["seed"]) & set(items_b["seed"]))
    items = items_a["item"].nunique()
    a, b = (
        table[table["seed"].isin(seeds)].set_index(["seed", "item"]).sort_index()
        for table in (items_a, items_b)
    )
    if not a.index.equals(b.index) or not a["label"].equals(b["label"]):
        raise ValueError("paired difference: the two methods were not scored on the same items")
    hits = metric.startswith("accuracy")
    column = "correct" if hits else "prediction"
    values = [table[column].to_numpy(float).reshape(len(seeds), items) for table in (a, b)]
    label = np.ones(items) if hits else a["label"].to_numpy(float)[:items]
    return np.stack(values), label


def _over_items(pair: Floats, value: Value, resamples: int, rng: np.random.Generator) -> Floats:
    """Seed-averaged differences under draws of items: (resamples,)."""
    return np.concatenate(
        [
            _difference(value(_weighted(weights, pair))).mean(axis=1)
            for weights in item_weights(pair.shape[2], resamples, rng)
        ]
    )


def _hits(
    pair: Floats, value: Value, observed: float, resamples: int, rng: np.random.Generator
) -> int:
    """How many swaps of the methods on random halves of the items differ as much as observed."""
    change = (pair[1] - pair[0])[None]
    means = pair.mean(axis=2)[:, None]
    hits = 0
    for swap in _swaps(pair.shape[2], resamples, rng):
        moved = _weighted(swap, change)[0]
        swapped = np.stack([means[0] + moved, means[1] - moved])
        differences = _difference(value(swapped)).mean(axis=1)
        # equal differences must count as equal in spite of the order of their sums
        hits += int(np.count_nonzero(np.abs(differences) >= abs(observed) - 1e-12))
    return hits


def _difference(pair: Floats) -> Floats:
    return np.asarray(pair[0] - pair[1])


def _swaps(items: int, resamples: int, rng: np.random.Generator) -> Iterator[Floats]:
    """Which items swap the methods, over their number: (batch, items)."""
    for start in range(0, resamples, _BATCH):
        yield rng.integers(2, size=(min(_BATCH, resamples - start), items)) / items


def _weighted(weights: Floats, features: Floats) -> Floats:
    """Sums over items: (draws, items) and (pair, seeds, items, k) to (pair, draws, seeds, k)."""
    return np.moveaxis(np.tensordot(weights, features, axes=(1, 2)), 0, 1)
