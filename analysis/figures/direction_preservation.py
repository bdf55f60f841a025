"""How well a method's update keeps the direction of full fine-tuning's, along training."""

from typing import TYPE_CHECKING

import pandas as pd
from matplotlib.figure import Figure

from analysis import along_training, panels, style
from analysis.names import Names
from analysis.tidy import POINT, read

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

MEASURE = along_training.Measure(
    "cosine",
    "Cosine",
    ("random_low", "random_high"),
    [
        along_training.Control("random", along_training.FLOOR, ":"),
        along_training.Control("best_rank", along_training.CEILING, "--"),
    ],
)
COLUMNS = [*POINT, "seed", "step", *MEASURE.columns]


def draw(directions: pd.DataFrame, names: Names) -> Figure:
    """One row of panels a rank, one column a task; one line a method.

    Lines: cosine between the method's update so far and full fine-tuning's, mean over adapted
    weights, then over seeds; the band goes from the lowest to the highest seed. Dashed: the best
    approximation of full's update of this rank. Shaded: what a random basis of this rank reaches.
    """
    title = "Direction of the update against full fine-tuning's"
    # before full fine-tuning has moved there is no direction to compare with
    cells = along_training.cell_means(directions, MEASURE.columns).dropna(subset=["best_rank"])
    if cells.empty:
        return panels.nothing(title, "No directions were measured.")
    figure = along_training.rank_grid(cells, MEASURE, title, names)
    for axes in figure.axes:
        axes.set_ylim(top=1.0)
    return figure


if "snakemake" in globals():
    measured = read(snakemake.input.directions, columns=COLUMNS)
    style.save(draw(measured, Names.read(snakemake.input.names)), **dict(snakemake.output.items()))
