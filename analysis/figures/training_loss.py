"""Training loss over steps."""

from typing import TYPE_CHECKING

import pandas as pd
from matplotlib.figure import Figure

from analysis import panels, style
from analysis.names import Names
from analysis.tidy import POINT, groups, read

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

SMOOTH = 0.05  # share of the steps in the running mean
LOSSES = [*POINT, "seed", "step", "loss"]


def draw(losses: pd.DataFrame, names: Names) -> Figure:
    """One panel a task, one line a method and rank: mean over seeds, band from lowest to highest.

    The loss of a step is that of its batch; each seed's is smoothed first, by a running mean over
    5 % of its logged steps.
    """
    title = "Training loss"
    if losses.empty:
        return panels.nothing(title, "No training was logged.")
    figure, axes = panels.panels(losses, title, names)
    lines = panels.line_styles(losses, names)
    curves = over_seeds(smoothed(losses))
    for (model, task, variant, rank), curve in groups(curves, POINT):
        panels.band(axes[model, task], curve["step"], curve, **lines[variant, rank])
    for panel in axes.values():
        panel.set_ylabel("Loss")
    figure.supxlabel("Optimizer step", fontsize="medium")
    seeds = losses.groupby(POINT)["seed"].nunique()
    labels = [look["label"] for look in lines.values()]
    panels.legend(figure, labels, panels.seeds_text(seeds, "band: lowest to highest"))
    return figure


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
