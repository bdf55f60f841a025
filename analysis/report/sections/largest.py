"""Every cost of every method: of the mean over tasks, the largest of its tasks."""

from __future__ import annotations

import pandas as pd

from analysis import formats
from analysis.report.costs import COSTS, MEASURED
from analysis.report.points import Point
from analysis.report.spread import cost_of


def table(points: list[Point], score: str) -> pd.DataFrame:
    """A row a point that was measured, a column a cost that some point has."""
    lines = []
    for point in points:
        if point.model:
            found = {cost.label: cost_of(point, MEASURED, score, cost.name) for cost in COSTS}
            lines.append({"Method": point.label} | found)
    values = pd.DataFrame(lines).dropna(axis="columns", how="all")
    units = {cost.label: cost.unit for cost in COSTS}
    text = {
        name: [
            formats.MISSING if pd.isna(value) else formats.quantity(value, units[name])
            for value in values[name]
        ]
        for name in values.columns[1:]
    }
    return values[["Method"]].assign(**text)
