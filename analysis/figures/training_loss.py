"""Training loss over steps."""

from typing import TYPE_CHECKING

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

from analysis import lines, panels, style
from analysis.names import Names
from analysis.tidy import POINT, groups, read

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

SMOOTH = 0.05  # share of the steps in the running mean
LOSSES = [*POINT, "seed", "step", "loss"]


def draw(losses: pd.DataFrame, names: Names) -> Figure:
    """A line a task, method and rank (`analysis.lines`): mean over seeds, band of their range.

    The loss of a step is that of its batch; each seed's is smoothed first, by a running mean over
    5 % of its logged steps.
    """
    title = "Training loss"
    if losses.empty:
        return panels.nothing(title, "No training was logged.")
    drawn = lines.lines(losses, title, names)
    for key, curve in groups(over_seeds(smoothed(losses)), POINT):
        panels.band(drawn.axes[key], curve["step"], curve, **drawn.looks[key])
    if drawn.apart:
        _scale(drawn.axes[key])
    drawn.figure.supylabel("Loss", fontsize="medium")
    drawn.figure.supxlabel("Optimizer step", fontsize="medium")
    seeds = losses.groupby(POINT)["seed"].nunique()
    spread = panels.seeds_text(seeds, "band: lowest to highest")
    panels.legend(drawn.figure, drawn.labels, spread)
    return drawn.figure


def _scale(shared: Axes) -> None:
    """A logarithmic scale for all panels, since the worst start would take most of another."""
    shared.set_yscale("log")
    shared.yaxis.set_major_locator(LogLocator(subs=(1, 3)))
    shared.yaxis.set_major_formatter("{x:g}")
    shared.yaxis.set_minor_formatter(NullFormatter())


def smoothed(losses: pd.DataFrame) -> pd.DataFrame:
    """The table with the running mean of each cell's loss in the place of the loss."""
    ordered = losses.sort_values([*POINT, "seed", "step"], kind="stable")
    cells = ordered.groupby([*POINT, "seed"])["loss"]
    window = max(1, round(SMOOTH * cells.size().median()))
    means = cells.rolling(window, center=True, min_periods=1).mean()
    return ordered.assign(loss=means.to_numpy())


def over_seeds(losses: pd.DataFrame) -> pd.DataFrame:
    """Mean, lowest and highest loss of the seeds at each step."""
    keys = [*POINT, "step"]
    return panels.spread(losses.groupby(keys)["loss"]).reset_index()


if "snakemake" in globals():
    figure = draw(read(snakemake.input.losses, needs=LOSSES), Names.read(snakemake.input.names))
    style.save(figure, **dict(snakemake.output.items()))
