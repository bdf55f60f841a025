"""Tasks one by one: the chart of every mean and interval; its table is `accuracy`."""

from __future__ import annotations

import pandas as pd

from analysis import formats
from analysis.report import charts
from analysis.report.points import Point

COLUMNS = ["task", "label", "mean", "low", "high", "color", "path", "tip"]


def chart(points: list[Point], scores: dict[str, str]) -> charts.SPEC:
    """A panel a task, and one of their mean; what trains nothing is far below, and left out."""
    trained = [point for point in points if point.trains]
    lines = [
        {
            "task": name,
            "label": point.label,
            "mean": 100 * found.mean,
            "low": 100 * found.low,
            "high": 100 * found.high,
            "color": point.color,
            "path": point.path,
            "tip": f"{point.label}: {formats.score(found)}",
        }
        for score, name in scores.items()
        for point in trained
        if (found := point.scores.get(score))
    ]
    table = pd.DataFrame(lines, columns=COLUMNS)
    return charts.scores_by_task(table, list(scores.values()), [point.label for point in trained])
