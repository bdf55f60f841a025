"""Score against the number of trainable parameters."""

from typing import TYPE_CHECKING

import pandas as pd
from matplotlib.figure import Figure

from analysis import panels, style
from analysis.tidy import read

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake


def draw(runs: pd.DataFrame) -> Figure:
    """One panel a task; see `analysis.panels.score_against`."""
    return panels.score_against(
        runs,
        cost="trainable_parameters",
        cost_label="Trainable parameters, without the task head",
        title="Score against trainable parameters",
    )


if "snakemake" in globals():
    style.save(draw(read(snakemake.input.runs)), **dict(snakemake.output.items()))
