"""Scores and a cost in rows, one a method and rank: as many as no panel of marks can hold."""

from __future__ import annotations

import matplotlib as mpl
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis import panels, style
from analysis.names import Names
from analysis.tidy import groups, rows

ROW = 0.17  # inches, height of a row
FRAME = 1.2  # inches, height of title, axis and note
PANEL = 2.4  # inches, width of a panel
LABELS = 2.0  # inches, width of the methods' names
NOTE = "filled: none of less or equal cost is better"


def draw(
    table: pd.DataFrame, names: Names, metrics: pd.Series, cost: panels.Cost, title: str
) -> Figure:
    """A panel a task, and one of the costs after each model's tasks; the best method on top.

    A cost that differs between tasks, as seconds do, has a mark for each of them.

    Bars are 95 % intervals over seeds. A mark is filled where it is on the Pareto front of its
    task. A dotted line goes through the score of what costs nothing, such as the base model.

    Parameters
    ----------
    table
        Columns model, task, variant, rank; mean, low, high, n; `cost`; `front`, whether none of
        less or equal cost is better.
    metrics
        The metric of each (model, task).
    """
    order = _best_first(table, metrics)
    places = {point: place for place, point in enumerate(order)}
    table = table.assign(place=[places[row.variant, row.rank] for row in rows(table)])
    table[["mean", "low", "high"]] *= 100
    looks = names.styles(table["variant"])
    keys = panels.tasks(table)
    models = table["model"].nunique()
    count = len(keys) + models
    figure = Figure((LABELS + count * PANEL, FRAME + ROW * len(order)), layout="constrained")
    figure.suptitle(title, fontsize="large")
    grid = iter(figure.subplots(1, count, sharey=True))
    for model, part in groups(table, "model"):
        for task, own in groups(part, "task"):
            axes = next(grid)
            _draw_scores(axes, own, looks, free=own["cost"] == 0)
            axes.set_title(names.task(task))
            axes.set_xlabel(style.percent_label(metrics[model, task]))
        axes = next(grid)
        _draw_costs(axes, part.drop_duplicates(["place", "cost"]), looks)
        cost.scale(axes, mpl.rcParams["axes.xmargin"])
        axes.set_xlabel(cost.label.replace(", ", ",\n"))
        axes.set_title(names.model(model) if models > 1 else "")
    first = figure.axes[0]
    first.set_yticks(range(len(order)), [names.label(*point) for point in order], fontsize="small")
    first.set_ylim(len(order) - 0.5, -0.5)
    seeds = panels.seeds_text(table.loc[table["cost"] > 0, "n"], "bars: 95 % interval")
    figure.supxlabel(f"{seeds}; {NOTE}".replace("\n", " "), fontsize="small")
    return figure


def _best_first(table: pd.DataFrame, metrics: pd.Series) -> list[tuple[str, int]]:
    """(variant, rank) by the mean over tasks."""
    signs = [
        -1 if style.lower_is_better(metrics[row.model, row.task]) else 1 for row in rows(table)
    ]
    signed = table.assign(signed=table["mean"] * signs)
    means = signed.groupby(["variant", "rank"], sort=False)["signed"].mean()
    return list(means.sort_values(ascending=False, kind="stable").index)


def _draw_scores(
    axes: Axes, part: pd.DataFrame, looks: dict[str, style.Style], free: pd.Series
) -> None:
    for level in part.loc[free, "mean"]:
        axes.axvline(level, color=style.CONTROL, linestyle=":")
    for row in rows(part):
        look = looks[row.variant]
        axes.errorbar(
            row.mean,
            row.place,
            xerr=[[row.mean - row.low], [row.high - row.mean]],
            color=look.color,
            marker=look.marker or "|",
            markerfacecolor=look.color if row.front else "white",
        )


def _draw_costs(axes: Axes, part: pd.DataFrame, looks: dict[str, style.Style]) -> None:
    for row in rows(part[part["cost"] > 0]):
        look = looks[row.variant]
        axes.plot(row.cost, row.place, color=look.color, marker=look.marker)
