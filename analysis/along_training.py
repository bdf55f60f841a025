"""Measures along training: from a row a weight to a line a method, and the grid to draw it in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis import panels, style
from analysis.names import Names
from analysis.tidy import POINT, groups

MEAN_OF = "mean over the adapted weights,\n"
STEP_LABEL = "Optimizer step"
CEILING = "best of this rank"
FLOOR = "random basis of this rank\n(mean; shaded: 95 % range)"


@dataclass(frozen=True)
class Control:
    """A mark that depends on the rank and not on the method: its column, label and line."""

    column: str
    label: str
    line: str


@dataclass(frozen=True)
class Measure:
    """What a grid of panels shows: a column, its axis label, what is shaded, and the marks."""

    column: str
    label: str
    shaded: tuple[str, str]  # lower and upper column of the floor's band
    controls: Sequence[Control]

    @property
    def columns(self) -> list[str]:
        """Every column that is drawn."""
        return [self.column, *self.shaded, *(control.column for control in self.controls)]


def cell_means(table: pd.DataFrame, columns: Sequence[str]) -> pd.DataFrame:
    """Means over the adapted weights of each cell and step; what is empty is left out."""
    keys = [*POINT, "seed", "step"]
    return table.groupby(keys, sort=False)[list(columns)].mean().reset_index()


def over_seeds(cells: pd.DataFrame, column: str) -> pd.DataFrame:
    """Means over the seeds at each step; those of one column also as `mean`, with `low`, `high`."""
    seeds = cells.drop(columns="seed").groupby([*POINT, "step"])
    return seeds.mean().join(panels.spread(seeds[column])).reset_index()


def rank_grid(
    cells: pd.DataFrame, measure: Measure, title: str, names: Names, *, log: bool = False
) -> Figure:
    """One row of panels a rank, one column a task; one line a method.

    Lines: mean over seeds; bands from the lowest to the highest seed. `cells` is what `cell_means`
    gives; methods without a rank are left out. With `log` steps are on a logarithmic axis that
    has room for 0.
    """
    cells = cells[cells["rank"] > 0]
    curves = over_seeds(cells, measure.column)
    looks = names.styles(cells["variant"])
    tasks = panels.tasks(cells)
    ranks = sorted(set(cells["rank"]))
    figure = panels.new_figure(len(ranks), len(tasks), title)
    grid = figure.subplots(len(ranks), len(tasks), sharex="col", sharey=True, squeeze=False)
    for (rank, model, task), part in groups(curves, ["rank", "model", "task"]):
        axes = grid[ranks.index(rank), tasks.index((model, task))]
        _draw_controls(axes, part, measure)
        for variant in names.ordered(part["variant"]):
            curve = part[part["variant"] == variant]
            look = looks[variant].arguments
            panels.band(axes, curve["step"], curve, **look, label=names.label(variant))
        if log:
            log_steps(axes)
    panels.title_panels(grid[0], tasks, names)
    for axes, rank in zip(grid[:, 0], ranks, strict=True):
        axes.set_ylabel(f"{measure.label}, rank {rank}")
    figure.supxlabel(STEP_LABEL, fontsize="medium")
    labels = [*map(names.label, looks), *(control.label for control in measure.controls)]
    panels.legend(figure, labels, seeds_title(cells))
    return figure


def log_steps(axes: Axes) -> None:
    """A logarithmic axis of steps that shows step 0, the start, too."""
    axes.set_xscale("symlog", linthresh=1, linscale=0.5)
    axes.set_xlim(left=-0.25)
    axes.xaxis.set_major_formatter("{x:g}")


def seeds_title(cells: pd.DataFrame) -> str:
    """Title of a legend that says what lines and bands are."""
    seeds = cells.groupby(POINT)["seed"].nunique()
    return f"{MEAN_OF}{panels.seeds_text(seeds, 'band: lowest to highest')}"


def _draw_controls(axes: Axes, part: pd.DataFrame, measure: Measure) -> None:
    # they depend on the rank; where each method has its own, the mean of them is drawn
    columns = [*measure.shaded, *(control.column for control in measure.controls)]
    marks = part.groupby("step")[list(dict.fromkeys(columns))].mean()
    low, high = (marks[name] for name in measure.shaded)
    axes.fill_between(marks.index, low, high, color="#dddddd", linewidth=0)
    for control in measure.controls:
        axes.plot(
            marks.index,
            marks[control.column],
            color=style.CONTROL,
            linestyle=control.line,
            label=control.label,
        )
