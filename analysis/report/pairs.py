"""Which points a reader may call different: every pair, on each task and on their mean."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
import pandas as pd

from analysis import stats
from analysis.report.inputs import Tables
from analysis.report.points import Point
from analysis.stats.every_pair import Draws, difference, draw_tasks
from analysis.tidy import MEAN, groups, rows

VERDICTS = {"higher": 1, "lower": -1, "cannot be told": 0}


@dataclass(frozen=True)
class Pair:
    """Score of point a minus that of point b (their places), with its 95 % interval.

    `verdict` is 1 or -1 where a is higher or lower, else 0: by the planned test where there is one
    (`planned`), whose interval and `detectable` it has, else by Holm's p over all pairs of the
    score and an interval without 0.
    `detectable`: what is found among so many with 80 %. `same`: differs by less than one point.
    """

    a: int
    b: int
    value: float
    low: float
    high: float
    verdict: int
    planned: bool
    detectable: float
    same: bool


Pairs = dict[str, list[Pair]]  # score -> pairs
Places = tuple[int, int]
Planned = tuple[float, float, int, float]  # interval, verdict, detectable


def pairs(tables: Tables, points: list[Point], seed: int = 0) -> Pairs:
    """Every pair of points of one model that have a seed in common, a before b."""
    rng = np.random.default_rng(seed)
    planned = _planned(tables.paired, points)
    found: Pairs = {}
    for model, items in groups(tables.per_item, "model"):
        places = [place for place, point in enumerate(points) if point.model == model]
        keys = [(points[place].variant, points[place].rank) for place in places]
        tasks = draw_tasks(items, keys, rng)
        mean = {MEAN: Draws.over_tasks(list(tasks.values()))} if len(tasks) > 1 else {}
        for score, draws in (mean | tasks).items():
            decided = planned.get(score, {})
            found.setdefault(score, []).extend(_compared(draws, places, decided, rng))
    return found


def _compared(
    draws: Draws,
    places: list[int],
    planned: Mapping[Places, Planned],
    rng: np.random.Generator,
) -> Iterator[Pair]:
    """The pairs of one score and one model, whose points stand at `places`."""
    every = {
        (places[a], places[b]): difference(draws, a, b)
        for a, b in combinations(range(len(places)), 2)
    }
    every = {key: found for key, found in every.items() if found.per_seed.size}
    adjusted = stats.holm([found.p_value for found in every.values()])
    for ((a, b), found), p in zip(every.items(), adjusted, strict=True):
        low, high = map(float, found.interval(rng))
        sign = int(low > 0) - int(high < 0) if p < stats.LEVEL else 0
        own = low, high, sign, found.detectable(len(every))
        low, high, verdict, detectable = planned.get((a, b), own)
        yield Pair(
            a=a,
            b=b,
            value=found.value,
            low=low,
            high=high,
            verdict=verdict,
            planned=(a, b) in planned,
            detectable=detectable,
            same=found.p_equivalent < stats.LEVEL,
        )


def against(pairs: list[Pair], place: int) -> dict[int, Pair]:
    """The pairs of one point, turned so that it is b; by the place of the other."""
    found = {}
    for pair in pairs:
        if pair.b == place:
            found[pair.a] = pair
        elif pair.a == place:
            found[pair.b] = replace(
                pair,
                a=pair.b,
                b=pair.a,
                value=-pair.value,
                low=-pair.high,
                high=-pair.low,
                verdict=-pair.verdict,
            )
    return found


def _planned(paired: pd.DataFrame, points: list[Point]) -> dict[str, dict[Places, Planned]]:
    """Those of `paired_differences`, both ways round; tasks with sets are tested set by set."""
    places = {(point.model, point.variant, point.rank): place for place, point in enumerate(points)}
    found: dict[str, dict[Places, Planned]] = {}
    for row in rows(paired[paired["set"] == ""]):
        a = places[row.model, row.variant_a, row.rank_a]
        b = places[row.model, row.variant_b, row.rank_b]
        verdict, smallest = VERDICTS[row.verdict], row.detectable
        task = found.setdefault(row.task, {})
        task[a, b] = row.low, row.high, verdict, smallest
        task[b, a] = -row.high, -row.low, -verdict, smallest
    return found
