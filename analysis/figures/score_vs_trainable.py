"""Score against the number of trainable parameters."""

from typing import TYPE_CHECKING

import pandas as pd
from matplotlib.figure import Figure

from analysis import panels, score_vs_cost, style
from analysis.names import Names
from analysis.tidy import read

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

COST = panels.Cost("trainable_parameters", "Trainable parameters, without the task head")


def draw(runs: pd.DataFrame, names: Names) -> Figure:
    """One panel a task; see `analysis.score_vs_cost.draw`."""
    return score_vs_cost.draw(runs, names, COST, "Score against trainable parameters")


if "snakemake" in globals():
    figure = draw(
        read(snakemake.input.runs, needs=[*score_vs_cost.RUNS, COST.column]),
        Names.read(snakemake.input.names),
    )
    style.save(figure, **dict(snakemake.output.items()))
