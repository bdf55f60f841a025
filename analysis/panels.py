"""What figures share: a grid of panels, lines of methods, the legend beside them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import ceil
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.transforms import ScaledTranslation
from pandas.api.typing import SeriesGroupBy

from analysis import style
from analysis.names import Names
from analysis.tidy import rows

COLUMNS = 3  # panels beside each other
LEGEND = 1.9  # inches, width of the legend beside the panels
LONGER = 2.3  # inches, width of each further column of a legend that is longer than the figure
LINE = 0.19  # inches, height of a line of the legend
DODGE = 3.0  # points between methods with the same x, so that their bars can be seen
WIDEST = 30.0  # points that methods with the same x take together, however many they are

Panels = dict[Any, Axes]


@dataclass(frozen=True)
class Cost:
    """A column of `runs` that a figure draws scores over, and its axis.

    A logarithmic axis is for what differs by powers of ten.
    """

    column: str
    label: str
    logarithmic: bool = True

    def scale(self, axes: Axes, margin: float) -> None:
        """Scale the x axis, with `margin` as a share of the data's width."""
        axes.set_xscale("log" if self.logarithmic else "linear")
        axes.set_xmargin(margin)


def panels(table: pd.DataFrame, title: str, names: Names) -> tuple[Figure, Panels]:
    """A figure with one panel a model and task, and its axes by (model, task).

    Panels are in order of appearance, at most three beside each other.
    """
    keys = tasks(table)
    columns = min(COLUMNS, len(keys))
    lines = ceil(len(keys) / columns)
    figure = new_figure(lines, columns, title)
    axes = {
        key: figure.add_subplot(lines, columns, place) for place, key in enumerate(keys, start=1)
    }
    title_panels(axes.values(), keys, names)
    return figure, axes


def tasks(table: pd.DataFrame) -> list[tuple[str, str]]:
    """Distinct (model, task) in order of appearance."""
    return list(table[["model", "task"]].drop_duplicates().itertuples(index=False, name=None))


def title_panels(panels: Iterable[Axes], keys: Sequence[tuple[str, str]], names: Names) -> None:
    """Name each (model, task) above its panel, as `task_labels` does."""
    for axes, label in zip(panels, task_labels(keys, names), strict=True):
        axes.set_title(label)


def task_labels(keys: Sequence[tuple[str, str]], names: Names) -> list[str]:
    """The label of each (model, task); with the model only where there are several."""
    several = len({model for model, _ in keys}) > 1
    return [
        f"{names.task(task)}, {names.model(model)}" if several else names.task(task)
        for model, task in keys
    ]


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


def points(table: pd.DataFrame, names: Names) -> list[tuple[str, int]]:
    """Distinct (variant, rank) in display order."""
    found = set(zip(table["variant"], table["rank"], strict=True))
    return [
        (variant, rank)
        for variant in names.ordered(variant for variant, _ in found)
        for rank in sorted(rank for name, rank in found if name == variant)
    ]


def line_styles(table: pd.DataFrame, names: Names) -> dict[tuple[str, int], dict[str, Any]]:
    """Arguments of `Axes.plot` for each (variant, rank); smaller ranks are paler and thinner."""
    looks = names.styles(table["variant"])
    found = points(table, names)
    arguments = {}
    for variant, rank in found:
        ranks = [other for name, other in found if name == variant]
        larger = sum(other > rank for other in ranks)
        arguments[variant, rank] = {
            "color": style.shade(looks[variant].color, rank, ranks),
            "linestyle": looks[variant].line,
            "linewidth": max(1.8 - 0.4 * larger, 0.7),
            "label": names.label(variant, rank),
        }
    return arguments


def legend(figure: Figure, labels: Iterable[str], title: str) -> None:
    """One legend for all panels, at the right of them, in the order of `labels`."""
    found: dict[str, Any] = {}
    for axes in figure.axes:
        for handle, name in zip(*axes.get_legend_handles_labels(), strict=True):
            found.setdefault(name, handle)
    drawn = [name for name in labels if name in found]
    if drawn:
        width, height = figure.get_size_inches()
        columns = ceil(len(drawn) / int(height / LINE - 3))  # title and margins
        figure.set_size_inches(width + LONGER * (columns - 1), height)
        figure.legend(
            [found[name] for name in drawn],
            drawn,
            title=title,
            loc="outside right center",
            alignment="left",
            ncols=columns,
        )


def seeds_text(counts: Iterable[int], spread: str) -> str:
    """Title of a legend: how many seeds a mean is over, and what bars or bands show.

    `mean of 3 seeds,` with the spread below it; without a spread for `1 seed`.
    """
    low, high = min(counts, default=0), max(counts, default=0)
    if high < 2:
        return f"{high} seed"
    number = str(high) if low == high else f"{low} to {high}"
    return f"mean of {number} seeds,\n{spread}"


def spread(groups: SeriesGroupBy[Any, Any]) -> pd.DataFrame:
    """Mean, lowest and highest value of each group, as `band` draws them."""
    return pd.DataFrame(groups.agg(mean="mean", low="min", high="max"))


def band(axes: Axes, x: pd.Series | pd.Index, means: pd.DataFrame, **look: Any) -> None:
    """A line through means with a band around it.

    Parameters
    ----------
    means
        Columns mean, low, high, a row for each of `x`.
    look
        Arguments of `Axes.plot`, the colour among them.
    """
    axes.plot(x, means["mean"], **look)
    axes.fill_between(x, means["low"], means["high"], color=look["color"], alpha=0.15, linewidth=0)


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
    mean = means["mean"].to_numpy()
    ends = [mean - means["low"], means["high"] - mean]
    axes.errorbar(x.to_numpy(), mean, yerr=ends, transform=moved, **look)
    # the shifted transform keeps its data out of the limits
    axes.update_datalim(
        [(place, y) for place, row in zip(x, rows(means), strict=True) for y in _ends(row)]
    )
    axes.autoscale_view()


def _ends(row: Any) -> list[float]:
    return [row.mean] if row.n < 2 else [row.low, row.high]
