"""Score against the peak memory of training."""

from typing import TYPE_CHECKING

import pandas as pd
from matplotlib.figure import Figure

from analysis import panels, score_vs_cost, style
from analysis.names import Names
from analysis.tidy import read

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

COST = panels.Cost(
    "peak_memory_bytes", "Peak memory of training (GB), as measured", logarithmic=False
)
SECONDS = "train_seconds"


def draw(runs: pd.DataFrame, names: Names) -> Figure:
    """One panel a task; see `analysis.score_vs_cost.draw`. What is not trained costs nothing."""
    memory = (runs[COST.column] / 1e9).where(runs[SECONDS] > 0, 0)
    runs = runs.assign(**{COST.column: memory})
    return score_vs_cost.draw(runs, names, COST, "Score against peak memory of training")


if "snakemake" in globals():
    figure = draw(
        read(snakemake.input.runs, needs=[*score_vs_cost.RUNS, COST.column, SECONDS]),
        Names.read(snakemake.input.names),
    )
    style.save(figure, **dict(snakemake.output.items()))
