"""Paired differences between methods, on the same items and seeds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from analysis.stats.every_pair import Draws, difference
from analysis.stats.metrics import Floats
from analysis.stats.runs import Point, Runs, swaps

Counts = npt.NDArray[np.int64]

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


def paired_differences(
    items: pd.DataFrame,
    metric: str,
    compared: Sequence[tuple[Point, Point]],
    rng: np.random.Generator,
    resamples: int = 9999,
    *,
    permutations: int = 0,
) -> list[Difference]:
    """Differences of the seed-averaged scores of methods on the same items and seeds.

    Draws of items, and permutations, are the same for all pairs.

    Parameters
    ----------
    items
        Columns variant, rank, seed, item, prediction, label, correct.
    metric
        As in `score`; accuracy reads `correct`.
    compared
        Pairs of variant and rank, (a, b) for a - b. Seeds that only one of a pair has are left out.
    resamples
        Draws of the bootstrap, and of the permutation test.
    permutations
        Draws of the permutation test where `resamples` of them hardly ever go as far: no p-value is
        below one in so many, which an adjustment for many comparisons needs to be small.

    Returns
    -------
    The 95 % interval (`Resampled.interval`) is for other test items and other seeds. With one seed
    it is for other items only. Without a common seed everything but the counts is NaN.

    The p-value is that of a two-sided permutation test that swaps the two methods' predictions of
    an item, for all its seeds together (approximate randomisation, Noreen 1989). It is about these
    trained models: it knows of no other seeds.

    Raises
    ------
    ValueError
        If the methods do not have the same items and labels.
    """
    points = list(dict.fromkeys(point for pair in compared for point in pair))
    runs = Runs.of(items, metric, points, sorted(items["seed"].unique()))
    places = [(points.index(a), points.index(b)) for a, b in compared]
    draws = Draws.of_runs(runs, resamples, rng)
    found = [difference(draws, a, b) for a, b in places]
    intervals = [each.interval(rng) for each in found]
    values = [each.value for each in found]
    p_values = _p_values(runs, places, values, (resamples, permutations), rng)
    return [
        Difference(
            value=each.value,
            low=float(low),
            high=float(high),
            p_value=float(p_value),
            detectable=each.detectable(),
            p_equivalent=each.p_equivalent,
            items=runs.items,
            seeds=each.per_seed.size,
        )
        for each, (low, high), p_value in zip(found, intervals, p_values, strict=True)
    ]


def paired_difference(
    items_a: pd.DataFrame,
    items_b: pd.DataFrame,
    metric: str,
    rng: np.random.Generator,
    resamples: int = 9999,
) -> Difference:
    """`paired_differences` of two tables of items, whatever their variants and ranks."""
    a, b = ("a", 0), ("b", 0)
    items = pd.concat(
        [
            items.assign(variant=variant, rank=rank)
            for (variant, rank), items in ((a, items_a), (b, items_b))
        ]
    )
    return paired_differences(items, metric, [(a, b)], rng, resamples)[0]


def holm(p_values: Sequence[float] | Floats) -> Floats:
    """P-values adjusted for their number by Holm's step-down method (1979); NaN are left out."""
    adjusted = np.array(p_values, dtype=np.float64)
    order = np.argsort(adjusted)[: np.count_nonzero(~np.isnan(adjusted))]
    stepped = np.maximum.accumulate(adjusted[order] * np.arange(order.size, 0, -1))
    adjusted[order] = np.minimum(stepped, 1.0)
    return adjusted


def _p_values(
    runs: Runs,
    places: list[tuple[int, int]],
    observed: list[float],
    numbers: tuple[int, int],
    rng: np.random.Generator,
) -> Floats:
    """Of the permutation test: `numbers` are its draws, and those where hardly any go as far."""
    few, many = numbers
    differences = np.array(observed)
    drawn, hits = np.full(len(places), few), _hits(runs, places, differences, few, rng)
    rare = np.flatnonzero(hits < _HITS)
    if rare.size and many > few:
        left = [places[place] for place in rare]
        hits[rare] += _hits(runs, left, differences[rare], many - few, rng)
        drawn[rare] = many
    return np.where(np.isnan(differences), np.nan, (1 + hits) / (1 + drawn))


def _hits(
    runs: Runs,
    places: list[tuple[int, int]],
    observed: Floats,
    draws: int,
    rng: np.random.Generator,
) -> Counts:
    """How many swaps of two methods on random halves of the items differ as much as observed."""
    means = runs.features.mean(axis=2)
    hits = np.zeros(len(places), dtype=np.int64)
    for swap in swaps(runs.items, draws, rng):
        moved = runs.weighted(swap)
        for place, (a, b) in enumerate(places):
            both = runs.there[a] & runs.there[b]
            change = moved[:, b, both] - moved[:, a, both]
            found = runs.value(means[a, both] + change) - runs.value(means[b, both] - change)
            # equal differences must count as equal in spite of the order of their sums
            far = np.abs(found.sum(axis=1)) >= both.sum() * (abs(observed[place]) - 1e-12)
            hits[place] += np.count_nonzero(far)
    return hits
