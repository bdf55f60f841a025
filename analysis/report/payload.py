"""What the page's script reads: points, pairs, costs, the charts."""

from __future__ import annotations

from dataclasses import asdict
from math import isnan
from typing import Any

from analysis.names import Names
from analysis.report import charts, spread
from analysis.report.costs import COSTS
from analysis.report.inputs import Tables
from analysis.report.pairs import Pairs
from analysis.report.points import Point, score_names, shape_names
from analysis.report.sections import rates, tasks


def payload(tables: Tables, names: Names, points: list[Point], pairs: Pairs) -> dict[str, Any]:
    """What the page's script reads; numbers as in the tables, NaN as null."""
    scores = score_names(tables.runs, names)
    figures = {"tasks": tasks.chart(points, scores)}
    if tables.sweep is not None:
        figures["rates"] = rates.chart(tables.sweep, tables.rates, names)
    found: dict[str, Any] = _plain(
        {
            "points": [
                {
                    **{name: getattr(point, name) for name in ("key", "label", "color", "path")},
                    "scores": {name: asdict(score) for name, score in point.scores.items()},
                    "costs": point.costs,
                    "folders": point.folders,
                    "folder": point.runs[0].folder if point.runs else "",
                }
                for point in points
            ],
            "score": next(iter(scores)),
            "costs": [asdict(cost) for cost in COSTS],
            "pairs": {
                score: {
                    f"{pair.a},{pair.b}": [
                        *(round(number, 5) for number in (pair.value, pair.low, pair.high)),
                        *(pair.verdict, pair.planned, pair.same, round(pair.detectable, 4)),
                    ]
                    for pair in some
                }
                for score, some in pairs.items()
            },
            "moves": {
                shape: {
                    score: {
                        cost.name: spread.offsets(points, shape, score, cost.name) for cost in COSTS
                    }
                    for score in scores
                }
                for shape in shape_names(tables, names)
            },
            "chart": charts.score_over_cost(),
            "charts": figures,
        }
    )
    return found


def _plain(data: Any) -> Any:
    """The data with null for NaN, which JSON does not have."""
    if isinstance(data, dict):
        return {key: _plain(value) for key, value in data.items()}
    if isinstance(data, list | tuple):
        return [_plain(value) for value in data]
    return None if isinstance(data, float) and isnan(data) else data
