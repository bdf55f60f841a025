"""Differences between all methods at once: draws of items that they share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from analysis.stats.metrics import Floats, parts
from analysis.stats.paired import item_weights, widening

Point = tuple[str, int]  # variant, rank


@dataclass(frozen=True)
class Draws:
    """Scores of points: as they are and under draws of the test items, NaN without a run.

    `observed` has shape (points, seeds), `drawn` (draws, points, seeds).
    """

    observed: Floats
    drawn: Floats

    @classmethod
    def mean(cls, several: Sequence[Draws]) -> Draws:
        """Means over tasks, or over the sets of a task; a seed that lacks one of them has none."""
        observed = np.mean([draws.observed for draws in several], axis=0)
        return cls(observed, np.mean([draws.drawn for draws in several], axis=0))


def draw(
    items: pd.DataFrame,
    points: Sequence[Point],
    seeds: Sequence[int],
    rng: np.random.Generator,
    draws: int = 2000,
) -> Draws:
    """Scores of one task, or one evaluation set, under draws of its items.

    Parameters
    ----------
    items
        Columns variant, rank, seed, item, metric, prediction, label, correct; every run has the
        same items.
    """
    metric = str(items["metric"].iloc[0])
    hits = metric.startswith("accuracy")
    # a table of predictions holds numbers as text, beside generated answers
    values = items.assign(value=items["correct" if hits else "prediction"].astype(float))
    runs = values.pivot(index=["variant", "rank", "seed"], columns="item", values="value")
    first = items.drop_duplicates("item").set_index("item")["label"].reindex(runs.columns)
    label = np.ones(len(first)) if hits else first.to_numpy(float)
    features, value = parts(metric)
    found = features(runs.to_numpy(float), label)
    places = {key: place for place, key in enumerate(runs.index)}
    shape = (len(points), len(seeds))
    observed, drawn = np.full(shape, np.nan), np.full((draws, *shape), np.nan)
    scores = value(found.mean(axis=1))
    under = np.concatenate(
        [
            value(np.tensordot(weights, found, axes=(1, 1)))
            for weights in item_weights(len(label), draws, rng)
        ]
    )
    for place, (variant, rank) in enumerate(points):
        for column, seed in enumerate(seeds):
            run = places.get((variant, rank, seed))
            if run is not None:
                observed[place, column], drawn[:, place, column] = scores[run], under[:, run]
    return Draws(observed, drawn)


def difference(
    draws: Draws, a: int, b: int, rng: np.random.Generator
) -> tuple[float, float, float]:
    """Score of point a minus that of b over their common seeds, and its 95 % interval.

    The interval is that of `paired_difference`: for other items and other seeds; for other items
    alone with one seed. NaN without a common seed.
    """
    per_seed = draws.observed[a] - draws.observed[b]
    common = ~np.isnan(per_seed)
    seeds = int(common.sum())
    if not seeds:
        return np.nan, np.nan, np.nan
    per_seed = per_seed[common]
    moved = (draws.drawn[:, a, common] - draws.drawn[:, b, common]).mean(axis=1)
    if seeds > 1:
        centred = per_seed - per_seed.mean()
        chosen = rng.choice(centred, size=(len(moved), seeds)).mean(axis=1)
        moved = moved + widening(seeds) * chosen
    low, high = np.quantile(moved, [0.025, 0.975])
    return float(per_seed.mean()), float(low), float(high)
