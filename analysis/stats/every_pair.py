"""Differences between all methods at once: draws of items that they share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from analysis.stats.metrics import Floats
from analysis.stats.resampled import Resampled
from analysis.stats.runs import Point, Runs
from analysis.tidy import groups, predicted


@dataclass(frozen=True)
class Draws:
    """Scores of points: as they are and under draws of the test items, NaN without a run.

    `observed` has shape (tasks, points, seeds); `drawn`, of the mean over tasks, (draws, points,
    seeds).
    """

    observed: Floats
    drawn: Floats

    @classmethod
    def of_runs(cls, runs: Runs, draws: int, rng: np.random.Generator) -> Draws:
        """Runs of one task, or one evaluation set, under so many draws of its items."""
        return cls(runs.observed()[None], runs.drawn(draws, rng))

    @classmethod
    def of_task(cls, sets: Sequence[Draws]) -> Draws:
        """Means over the evaluation sets of one task; a seed that lacks one of them has none."""
        observed = np.mean([draws.observed for draws in sets], axis=0)
        return cls(observed, np.mean([draws.drawn for draws in sets], axis=0))

    @classmethod
    def over_tasks(cls, tasks: Sequence[Draws]) -> Draws:
        """Several tasks together; a seed that lacks one of them has none."""
        observed = np.concatenate([draws.observed for draws in tasks])
        return cls(observed, np.mean([draws.drawn for draws in tasks], axis=0))


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
    runs = Runs.of(items, str(items["metric"].iloc[0]), points, seeds)
    return Draws.of_runs(runs, draws, rng)


def draw_tasks(
    items: pd.DataFrame, points: Sequence[Point], rng: np.random.Generator
) -> dict[str, Draws]:
    """`draw` of each task of one model; `items` has the columns task and set, too."""
    seeds = sorted(items["seed"].unique())
    return {
        task: Draws.of_task([draw(part, points, seeds, rng) for _, part in groups(whole, "set")])
        for task, whole in groups(predicted(items), "task")
    }


def difference(draws: Draws, a: int, b: int) -> Resampled:
    """Score of point a minus that of b, the mean over tasks, over their common seeds."""
    observed = draws.observed[:, a] - draws.observed[:, b]
    common = ~np.isnan(observed.mean(axis=0))
    moved = draws.drawn[:, a, common] - draws.drawn[:, b, common]
    if not common.any():
        return Resampled(np.full(1, np.nan), np.zeros(0))
    observed = observed[:, common]
    return Resampled(moved.mean(axis=1), observed.mean(axis=0), observed.mean(axis=1))
