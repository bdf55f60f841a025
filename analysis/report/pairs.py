"""Which points a reader may call different: every pair, on each task and on their mean."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

import numpy as np
import pandas as pd

from analysis.report.inputs import Tables
from analysis.report.points import Point
from analysis.stats.every_pair import Draws, difference, draw
from analysis.tables.accuracy import MEAN
from analysis.tidy import groups, rows

VERDICTS = {"higher": 1, "lower": -1, "cannot be told": 0}


@dataclass(frozen=True)
class Pair:
    """Score of point a minus that of point b (their places), with its 95 % interval.

    `verdict` is 1 or -1 where a is higher or lower, else 0: by the planned test where there is one
    (`planned`), else by whether the interval, which no number of comparisons adjusts, leaves out 0.
    """

    a: int
    b: int
    value: float
    low: float
    high: float
    verdict: int
    planned: bool


Pairs = dict[str, list[Pair]]  # score -> pairs


def pairs(tables: Tables, points: list[Point], seed: int = 0) -> Pairs:
    """Every pair of points of one model that have a seed in common, a before b."""
    rng = np.random.default_rng(seed)
    planned = _planned(tables.paired)
    found: Pairs = {}
    for model, items in groups(tables.per_item, "model"):
        places = [place for place, point in enumerate(points) if point.model == model]
        for score, draws in _draws(items, [points[place] for place in places], rng).items():
            for one, other in combinations(range(len(places)), 2):
                a, b = places[one], places[other]
                value, low, high = difference(draws, one, other, rng)
                if not np.isnan(value):
                    known = planned.get((score, points[a].key, points[b].key))
                    verdict = int(low > 0) - int(high < 0) if known is None else known
                    pair = Pair(a, b, value, low, high, verdict, known is not None)
                    found.setdefault(score, []).append(pair)
    return found


def against(pairs: list[Pair], place: int) -> dict[int, Pair]:
    """The pairs of one point, turned so that it is b; by the place of the other."""
    found = {}
    for pair in pairs:
        if pair.b == place:
            found[pair.a] = pair
        elif pair.a == place:
            found[pair.b] = Pair(
                pair.b, pair.a, -pair.value, -pair.high, -pair.low, -pair.verdict, pair.planned
            )
    return found


def _draws(items: pd.DataFrame, points: list[Point], rng: np.random.Generator) -> dict[str, Draws]:
    keys = [(point.variant, point.rank) for point in points]
    seeds = sorted(items["seed"].unique())
    tasks = {
        task: Draws.mean([draw(part, keys, seeds, rng) for _, part in groups(whole, "set")])
        for task, whole in groups(items, "task")
    }
    return ({MEAN: Draws.mean(list(tasks.values()))} if len(tasks) > 1 else {}) | tasks


def _planned(paired: pd.DataFrame) -> dict[tuple[str, str, str], int]:
    """Verdicts of `paired_differences`, both ways round; tasks with sets are tested set by set."""
    found = {}
    for row in rows(paired[paired["set"] == ""]):
        a, b = (
            f"{row.model}-{variant}-{rank}"
            for variant, rank in ((row.variant_a, row.rank_a), (row.variant_b, row.rank_b))
        )
        found[row.task, a, b] = VERDICTS[row.verdict]
        found[row.task, b, a] = -VERDICTS[row.verdict]
    return found
