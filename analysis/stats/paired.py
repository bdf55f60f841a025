"""Paired differences between methods, on the same items and seeds."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import pandas as pd
from scipy import stats

from analysis.stats.metrics import Floats, Value, parts

_BATCH = 1000  # resamples at a time; bounds the memory to 8 kB an item


@dataclass(frozen=True)
class Difference:
    """Score of method a minus score of method b."""

    value: float
    low: float
    high: float
    p_value: float
    items: int
    seeds: int


def paired_difference(
    items_a: pd.DataFrame,
    items_b: pd.DataFrame,
    metric: str,
    rng: np.random.Generator,
    resamples: int = 9999,
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

    Returns
    -------
    The 95 % interval is for other test items and other seeds: the sum of a bootstrap over items,
    with the same draws for both methods, and one over seeds. A bootstrap of n values is too narrow
    for small n, so that over seeds is widened by sqrt(n / (n - 1)) t_{n-1} / z (the "expanded
    percentiles" of Hesterberg 2015, doi:10.1080/00031305.2015.1089789). With one seed the interval
    is for other items only. Without a common seed everything but the counts is NaN.

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
        return Difference(np.nan, np.nan, np.nan, np.nan, items, 0)
    pair = features(predictions, label)
    observed = float(_difference(value(pair.mean(axis=2))).mean())
    low, high = np.quantile(_bootstrap(pair, value, resamples, rng), [0.025, 0.975])
    swapped = _permuted(pair, value, resamples, rng)
    # equal differences must count as equal in spite of the order of their sums
    hits = np.count_nonzero(np.abs(swapped) >= abs(observed) - 1e-12)
    p_value = float((1 + hits) / (1 + resamples))
    return Difference(observed, float(low), float(high), p_value, items, seeds)


def holm(p_values: Sequence[float] | Floats) -> Floats:
    """P-values adjusted for their number by Holm's step-down method (1979); NaN are left out."""
    adjusted = np.array(p_values, dtype=np.float64)
    order = np.argsort(adjusted)[: np.count_nonzero(~np.isnan(adjusted))]
    stepped = np.maximum.accumulate(adjusted[order] * np.arange(order.size, 0, -1))
    adjusted[order] = np.minimum(stepped, 1.0)
    return adjusted


@cache
def widening(seeds: int) -> float:
    """By how much a bootstrap of a mean of so few seeds is widened; see `paired_difference`."""
    expanded = np.sqrt(seeds / (seeds - 1)) * stats.t.ppf(0.975, seeds - 1)
    return float(expanded / stats.norm.ppf(0.975))


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


def _bootstrap(pair: Floats, value: Value, resamples: int, rng: np.random.Generator) -> Floats:
    """Differences under draws of items and of seeds: (resamples,)."""
    _, seeds, items, _ = pair.shape
    over_items = np.concatenate(
        [
            _difference(value(_weighted(weights, pair))).mean(axis=1)
            for weights in item_weights(items, resamples, rng)
        ]
    )
    if seeds == 1:
        return over_items
    per_seed = _difference(value(pair.mean(axis=2)))
    over_seeds = rng.choice(per_seed - per_seed.mean(), size=(resamples, seeds)).mean(axis=1)
    return np.asarray(over_items + widening(seeds) * over_seeds)


def _permuted(pair: Floats, value: Value, resamples: int, rng: np.random.Generator) -> Floats:
    """Seed-averaged differences after swapping the methods on random halves of the items."""
    change = (pair[1] - pair[0])[None]
    means = pair.mean(axis=2)[:, None]
    differences = []
    for swap in _swaps(pair.shape[2], resamples, rng):
        moved = _weighted(swap, change)[0]
        swapped = np.stack([means[0] + moved, means[1] - moved])
        differences.append(_difference(value(swapped)).mean(axis=1))
    return np.concatenate(differences)


def _difference(pair: Floats) -> Floats:
    return np.asarray(pair[0] - pair[1])


def _swaps(items: int, resamples: int, rng: np.random.Generator) -> Iterator[Floats]:
    """Which items swap the methods, over their number: (batch, items)."""
    for start in range(0, resamples, _BATCH):
        yield rng.integers(2, size=(min(_BATCH, resamples - start), items)) / items


def _weighted(weights: Floats, features: Floats) -> Floats:
    """Sums over items: (draws, items) and (pair, seeds, items, k) to (pair, draws, seeds, k)."""
    return np.moveaxis(np.tensordot(weights, features, axes=(1, 2)), 0, 1)
