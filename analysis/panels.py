"""What figures share: a grid of panels, lines of methods, the legend beside them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import ceil
from typing import Any

import matplotlib as mpl
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.transforms import ScaledTranslation

from analysis import stats, style
from analysis.tidy import POINT, groups, rows, succeeded

COLUMNS = 3  # panels beside each other
LEGEND = 1.9  # inches, width of the legend beside the panels
DODGE = 3.0  # points between methods with the same x, so that their bars can be seen

Panels = dict[Any, Axes]


def panels(table: pd.DataFrame, title: str) -> tuple[Figure, Panels]:
    """A figure with one panel a model and task, and its axes by (model, task).

    Panels are in order of appearance, at most three beside each other.
    """
    keys = tasks(table)
    models = [model for model, _ in keys]
    columns = min(COLUMNS, len(keys))
    lines = ceil(len(keys) / columns)
    figure = new_figure(lines, columns, title)
    axes = {
        key: figure.add_subplot(lines, columns, place) for place, key in enumerate(keys, start=1)
    }
    for key, panel in axes.items():
        panel.set_title(panel_title(*key, models=models))
    return figure, axes


def tasks(table: pd.DataFrame) -> list[tuple[str, str]]:
    """Distinct (model, task) in order of appearance."""
    return list(table[["model", "task"]].drop_duplicates().itertuples(index=False, name=None))


def title_columns(top: Iterable[Axes], keys: Sequence[tuple[str, str]]) -> None:
    """Name the (model, task) of each column above the axes of a grid's first row."""
    models = [model for model, _ in keys]
    for axes, key in zip(top, keys, strict=True):
        axes.set_title(panel_title(*key, models=models))


def new_figure(lines: int, columns: int, title: str) -> Figure:
    """An empty figure with room for a grid of panels and a legend at the right."""
    width, height = style.PANEL
    size = (columns * width + LEGEND, lines * height + 0.3)
    figure = Figure(figsize=size, layout="constrained")
    figure.suptitle(title, fontsize="large")
    return figure


def nothing(title: str, message: str) -> Figure:
    """A figure with a message in the place of panels, for a study that has nothing to draw."""
    figure = new_figure(1, 1, title)
    figure.text(0.5, 0.5, message, ha="center", va="center", color=style.CONTROL)
    return figure


def panel_title(model: str, task: str, *, models: Sequence[str]) -> str:
    """The task's name, with the model's where there are several."""
    name = style.task_label(task)
    return f"{name}, {model}" if len(set(models)) > 1 else name


def points(table: pd.DataFrame) -> list[tuple[str, int]]:
    """Distinct (variant, rank) in display order."""
    found = set(zip(table["variant"], table["rank"], strict=True))
    return [
        (variant, rank)
        for variant in style.ordered(variant for variant, _ in found)
        for rank in sorted(rank for name, rank in found if name == variant)
    ]


def line_styles(table: pd.DataFrame) -> dict[tuple[str, int], dict[str, Any]]:
    """Arguments of `Axes.plot` for each (variant, rank); smaller ranks are paler and thinner."""
    looks = style.styles(table["variant"])
    found = points(table)
    arguments = {}
    for variant, rank in found:
        ranks = [other for name, other in found if name == variant]
        larger = sum(other > rank for other in ranks)
        arguments[variant, rank] = {
            "color": style.shade(looks[variant].color, rank, ranks),
            "linestyle": looks[variant].line,
            "linewidth": max(1.8 - 0.4 * larger, 0.7),
            "label": style.label(variant, rank),
        }
    return arguments


def legend(figure: Figure, labels: Iterable[str], title: str) -> None:
    """One legend for all panels, at the right of them, in the order of `labels`."""
    found: dict[str, Any] = {}
    for axes in figure.axes:
        for handle, name in zip(*axes.get_legend_handles_labels(), strict=True):
            found.setdefault(name, handle)
    names = [name for name in labels if name in found]
    if names:
        handles = [found[name] for name in names]
        figure.legend(handles, names, title=title, loc="outside right center", alignment="left")


def seeds_text(counts: Iterable[int], spread: str) -> str:
    """Title of a legend: how many seeds a mean is over, and what bars or bands show.

    `mean of 3 seeds,` with the spread below it; without a spread for `1 seed`.
    """
    low, high = min(counts, default=0), max(counts, default=0)
    if high < 2:
        return f"{high} seed"
    number = str(high) if low == high else f"{low} to {high}"
    return f"mean of {number} seeds,\n{spread}"


def score_against(runs: pd.DataFrame, *, cost: str, cost_label: str, title: str) -> Figure:
    """Score over a cost on a logarithmic axis: a panel a task, a line a method over its ranks.

    A task without a score has no panel. What costs nothing, such as the base model, is a dotted
    horizontal line. What has no rank is a point with a thin horizontal line, to compare the others
    with. Bars are 95 % t intervals over seeds. Methods with a cost in common are drawn a few points
    beside each other.

    Parameters
    ----------
    runs
        The tidy table `runs`.
    cost
        Its column on the x axis; the same for all seeds.
    """
    done = succeeded(runs)
    table = stats.means(done, [*POINT, cost], "score")
    if table.empty:
        return nothing(title, "No run has a score.")
    figure, axes = panels(done, title)
    metrics = runs.groupby(["model", "task"])["metric"].first()
    looks = style.styles(table["variant"])
    labels = {name: _ranks_label(name, table) for name in looks}
    for key, part in groups(table, ["model", "task"]):
        shifts = _shifts(part, cost)
        for variant, look in looks.items():
            method = part[part["variant"] == variant].sort_values(cost)
            if len(method):
                _draw_method(
                    axes[key],
                    method,
                    cost,
                    look=look,
                    label=labels[variant],
                    shift=shifts.get(variant, 0.0),
                )
        axes[key].set_xscale("log")
        axes[key].set_xmargin(mpl.rcParams["axes.xmargin"] + _room(shifts.values()))
        axes[key].set_ylabel(style.percent_label(metrics[key]))
    figure.supxlabel(cost_label, fontsize="medium")
    legend(
        figure, labels.values(), seeds_text(table.loc[table[cost] > 0, "n"], "bars: 95 % interval")
    )
    return figure


def error_line(
    axes: Axes, x: pd.Series, means: pd.DataFrame, shift: float = 0.0, **look: Any
) -> None:
    """A line through means with bars for their intervals, `shift` points beside its places.

    Parameters
    ----------
    means
        Columns mean, low, high, n, a row for each of `x`.
    look
        Arguments of `Axes.errorbar`.
    """
    figure = axes.get_figure()
    assert figure is not None
    moved = axes.transData + ScaledTranslation(shift / 72, 0, figure.dpi_scale_trans)
    mean, half = (column.to_numpy() for column in (means["mean"], means["high"] - means["mean"]))
    axes.errorbar(x.to_numpy(), mean, yerr=half, transform=moved, **look)
    # the shifted transform keeps its data out of the limits
    axes.update_datalim(
        [(place, y) for place, row in zip(x, rows(means), strict=True) for y in _ends(row)]
    )
    axes.autoscale_view()


def _draw_method(
    axes: Axes, method: pd.DataFrame, cost: str, *, look: style.Style, label: str, shift: float
) -> None:
    means = method.assign(**{name: 100 * method[name] for name in ("mean", "low", "high")})
    mean = means["mean"].iloc[0]
    if not method[cost].all():
        axes.axhline(mean, color=look.color, linestyle=look.line, label=label)
        return
    if not method["rank"].all():
        axes.axhline(mean, color=look.color, linewidth=0.6, zorder=1)
    drawn = {"color": look.color, "marker": look.marker, "linestyle": look.line, "label": label}
    error_line(axes, method[cost], means, shift, **drawn)


def _shifts(part: pd.DataFrame, cost: str) -> dict[str, float]:
    """Points by which to shift each variant that has a cost in common with another."""
    shared = part[part.duplicated(cost, keep=False) & (part[cost] > 0)]
    variants = style.ordered(shared["variant"])
    return {name: DODGE * (place - (len(variants) - 1) / 2) for place, name in enumerate(variants)}


def _room(shifts: Iterable[float]) -> float:
    """The margin, as a share of the data's width, that holds what is shifted by so many points."""
    share = max(map(abs, shifts), default=0.0) / 72 / style.PANEL[0]
    return share / (1 - 2 * share)


def _ends(row: Any) -> list[float]:
    return [row.mean] if row.n < 2 else [row.low, row.high]


def _ranks_label(variant: str, table: pd.DataFrame) -> str:
    ranks = sorted({rank for rank in table.loc[table["variant"] == variant, "rank"] if rank})
    name = style.label(variant)
    return f"{name}, r = {', '.join(map(str, ranks))}" if ranks else name
