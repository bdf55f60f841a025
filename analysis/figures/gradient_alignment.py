"""How close a step on a method's own parameters comes to full fine-tuning's, along training."""

from typing import TYPE_CHECKING

import pandas as pd
from matplotlib.figure import Figure

from analysis import along_training, panels, style
from analysis.names import Names
from analysis.tidy import POINT, read

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

MEASURE = along_training.Measure(
    "equivalent_cosine",
    "Cosine",
    ("random_low", "random_high"),
    [
        along_training.Control("random_cosine", along_training.FLOOR, ":"),
        along_training.Control("optimum_cosine", along_training.CEILING, "--"),
    ],
)
COLUMNS = [*POINT, "seed", "step", *MEASURE.columns]


def draw(gradients: pd.DataFrame, names: Names) -> Figure:
    """One row of panels a rank, one column a task; one line a method.

    Lines: cosine between the change of the weight that a gradient step on the method's parameters
    makes and the full gradient, both at the method's weights of that step.
    """
    title = "Direction of the next gradient step against full fine-tuning's"
    cells = along_training.cell_means(gradients, MEASURE.columns)
    if not (cells["rank"] > 0).any():
        return panels.nothing(title, "No gradients were measured.")
    figure = along_training.rank_grid(cells, MEASURE, title, names, log=True)
    for axes in figure.axes:
        axes.set_ylim(top=1.0)
    return figure


if "snakemake" in globals():
    measured = read(snakemake.input.gradients, columns=COLUMNS)
    style.save(draw(measured, Names.read(snakemake.input.names)), **dict(snakemake.output.items()))
