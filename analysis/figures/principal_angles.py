"""How far the gradient's own top subspaces turn away from those of the start."""

from typing import TYPE_CHECKING

import pandas as pd
from matplotlib.figure import Figure

from analysis import along_training, panels, style
from analysis.names import Names
from analysis.tidy import POINT, groups, read

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

SIDES = {"left_overlap": "left (outputs)", "right_overlap": "right (inputs)"}
COLUMNS = [*POINT, "seed", "step", *SIDES]


def draw(gradients: pd.DataFrame, names: Names) -> Figure:
    """One row of panels a side, one column a task; one line a method and rank.

    Lines: mean squared cosine of the principal angles between the top-r singular subspaces of the
    gradient at the step and at the start of the same run.
    """
    title = "Top subspaces of the gradient against those of the start"
    if gradients.empty:
        return panels.nothing(title, "No gradients were measured.")
    cells = along_training.cell_means(gradients, list(SIDES))
    lines = panels.line_styles(cells, names)
    tasks = panels.tasks(cells)
    figure = panels.new_figure(len(SIDES), len(tasks), title)
    grid = figure.subplots(len(SIDES), len(tasks), sharex="col", sharey=True, squeeze=False)
    for row, side in zip(grid, SIDES, strict=True):
        curves = along_training.over_seeds(cells, side)
        for (model, task, variant, rank), curve in groups(curves, POINT):
            axes = row[tasks.index((model, task))]
            panels.band(axes, curve["step"], curve, **lines[variant, rank])
        row[0].set_ylabel(f"Overlap, {SIDES[side]}")
    for axes in figure.axes:
        along_training.log_steps(axes)
        axes.set_ylim(0.0, 1.02)
    panels.title_panels(grid[0], tasks, names)
    figure.supxlabel(along_training.STEP_LABEL, fontsize="medium")
    labels = [look["label"] for look in lines.values()]
    panels.legend(figure, labels, along_training.seeds_title(cells))
    return figure


if "snakemake" in globals():
    measured = read(snakemake.input.gradients, columns=COLUMNS)
    style.save(draw(measured, Names.read(snakemake.input.names)), **dict(snakemake.output.items()))
