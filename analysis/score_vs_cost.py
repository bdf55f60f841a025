"""Score over a cost: the figures that differ in the cost alone."""

from __future__ import annotations

from collections.abc import Iterable

import matplotlib as mpl
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis import panels, score_list, stats, style
from analysis.names import Names
from analysis.tidy import POINT, groups, succeeded

RUNS = [*POINT, "status", "metric", "score"]  # columns besides the cost
MANY = 10  # methods and ranks; where more share a cost their marks hide each other


def draw(runs: pd.DataFrame, names: Names, cost: panels.Cost, title: str) -> Figure:
    """Score over a cost: a panel a task, a line a method over its ranks.

    A task without a score has no panel. What costs nothing, such as the base model, is a dotted
    horizontal line. What has no rank is a point with a thin horizontal line, to compare the others
    with. Bars are 95 % t intervals over seeds. Methods with a cost in common are drawn a few points
    beside each other. A dashed line joins the points that none of less or equal cost is better
    than. More than `MANY` methods and ranks are a list, see `analysis.score_list.draw`.

    Parameters
    ----------
    runs
        The tidy table `runs`; of a cost that differs between seeds the median is drawn.
    """
    done = succeeded(runs)
    table = stats.score_means(done, POINT)
    if table.empty:
        return panels.nothing(title, "No run has a score.")
    costs = done.groupby(POINT)[cost.column].median().rename("cost")
    table = table.merge(costs, left_on=POINT, right_index=True)
    metrics = done.groupby(["model", "task"])["metric"].first()
    table["front"] = _front(table, metrics)
    if len(panels.points(table, names)) > MANY:
        return score_list.draw(table, names, metrics, cost, title)
    figure, axes = panels.panels(done, title, names)
    looks = names.styles(table["variant"])
    labels = {name: _ranks_label(name, table, names) for name in looks}
    for key, part in groups(table, ["model", "task"]):
        shifts = _shifts(part, names)
        for variant, look in looks.items():
            method = part[part["variant"] == variant].sort_values("cost")
            if len(method):
                _draw_method(
                    axes[key],
                    method,
                    look=look,
                    label=labels[variant],
                    shift=shifts.get(variant, 0.0),
                )
        front = part[part["front"] & (part["cost"] > 0)].sort_values("cost")
        axes[key].step(front["cost"], 100 * front["mean"], where="post", **style.FRONT)
        cost.scale(axes[key], mpl.rcParams["axes.xmargin"] + _room(shifts.values()))
        axes[key].set_ylabel(style.percent_label(metrics[key]))
    figure.supxlabel(cost.label, fontsize="medium")
    panels.legend(
        figure,
        labels.values(),
        panels.seeds_text(table.loc[table["cost"] > 0, "n"], "bars: 95 % interval"),
    )
    return figure


def _front(table: pd.DataFrame, metrics: pd.Series) -> pd.Series:
    """Whether no other row of the model and task has a better mean at less or equal cost."""
    found = pd.Series(False, index=table.index)
    for key, part in groups(table, ["model", "task"]):
        better = -part["mean"] if style.lower_is_better(metrics[key]) else part["mean"]
        for place in part.index:
            found[place] = better[part["cost"] <= part.loc[place, "cost"]].max() <= better[place]
    return found


def _draw_method(
    axes: Axes, method: pd.DataFrame, *, look: style.Style, label: str, shift: float
) -> None:
    means = method.assign(**{name: 100 * method[name] for name in ("mean", "low", "high")})
    mean = means["mean"].iloc[0]
    if not method["cost"].all():
        axes.axhline(mean, color=look.color, linestyle=look.line, label=label)
        return
    if not method["rank"].all():
        axes.axhline(mean, color=look.color, linewidth=0.6, zorder=1)
    panels.error_line(axes, method["cost"], means, shift, **look.arguments, label=label)


def _shifts(part: pd.DataFrame, names: Names) -> dict[str, float]:
    """Points by which to shift each variant that has a cost in common with another."""
    shared = part[part.duplicated("cost", keep=False) & (part["cost"] > 0)]
    variants = names.ordered(shared["variant"])
    middle = (len(variants) - 1) / 2
    step = min(panels.DODGE, panels.WIDEST / max(1.0, 2 * middle))
    return {name: step * (place - middle) for place, name in enumerate(variants)}


def _room(shifts: Iterable[float]) -> float:
    """The margin, as a share of the data's width, that holds what is shifted by so many points."""
    share = max(map(abs, shifts), default=0.0) / 72 / style.PANEL[0]
    return share / (1 - 2 * share)


def _ranks_label(variant: str, table: pd.DataFrame, names: Names) -> str:
    ranks = sorted({rank for rank in table.loc[table["variant"] == variant, "rank"] if rank})
    name = names.label(variant)
    return f"{name}, r = {', '.join(map(str, ranks))}" if ranks else name
