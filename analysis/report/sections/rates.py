"""Learning-rate curves: the sweep's means, what was chosen, and what was chosen at an edge."""

from __future__ import annotations

import pandas as pd

from analysis import formats, stats, style
from analysis.edges import EDGES
from analysis.names import Names
from analysis.report import charts
from analysis.report.points import label
from analysis.tables import learning_rates
from analysis.tidy import POINT, rows


def chart(sweep: pd.DataFrame, rates: pd.DataFrame | None, names: Names) -> charts.SPEC:
    """A panel a method and rank, a line a task; rates at which every run failed are left out."""
    chosen = {} if rates is None else {tuple(row[:4]): row for row in rows(_keyed(rates))}
    several = sweep["model"].nunique() > 1
    means = stats.score_means(sweep.dropna(subset=["score"]), [*POINT, "lr"])
    lines = []
    for row in rows(formats.by_variant(means, names, first=["model"])):
        mark = chosen.get((row.model, row.task, row.variant, row.rank))
        here = mark if mark and mark.lr == row.lr else None
        method, task = label(row, names, several=several), names.task(row.task)
        lines.append(
            {
                "label": method,
                "task": task,
                "lr": float(row.lr),
                "mean": 100 * row.mean,
                "mark": ("chosen" if here.edge == "none" else "edge") if here else "",
                "tip": f"{method}, {task}, rate {row.lr}: {formats.score(row)}",
            }
        )
    table = pd.DataFrame(lines)
    return charts.learning_rates(table, list(table["label"].unique()))


def table(rates: pd.DataFrame, names: Names) -> pd.DataFrame:
    """A row a method and rank, a column a task: the chosen rate, its score, whether at an edge."""
    several = rates["model"].nunique() > 1
    lines: dict[str, dict[str, str]] = {}
    for row in rows(formats.by_variant(rates, names, first=["model"])):
        edge = "" if row.edge == "none" else f", {EDGES[row.edge]}"
        text = f"{row.lr} ({formats.percent(row.score)}{edge})"
        lines.setdefault(label(row, names, several=several), {})[names.task(row.task)] = text
    columns = list(dict.fromkeys(names.task(task) for task in rates["task"]))
    found = pd.DataFrame.from_dict(lines, orient="index", columns=columns).fillna(formats.MISSING)
    return found.rename_axis("Method").reset_index()


def notes(sweep: pd.DataFrame | None, names: Names) -> list[str]:
    """What is to be said of the scores of a sweep where some are losses."""
    if sweep is None:
        return []
    losses = sweep.loc[sweep["metric"].map(style.lower_is_better), "task"]
    return learning_rates.loss_notes(list(losses.unique()), names)


def _keyed(rates: pd.DataFrame) -> pd.DataFrame:
    return rates[[*POINT, "lr", "edge"]]
