"""The learning rate of each method and what the sweep said about it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from analysis import formats, style
from analysis.tidy import POINT, read

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

EDGES = {"low": "lowest tried", "high": "highest tried", "none": "inside the grid"}

NOTES = [
    "Score x 100 on the selection split, which is cut from the training data: mean over the seeds of"
    " the sweep (their number), which are not those of the reported runs.",
    "A rate that is the lowest or highest tried may not be the best one: its method may do better"
    " outside the grid.",
]


def learning_rates(runs: pd.DataFrame, selected: pd.DataFrame | None = None) -> pd.DataFrame:
    """The rate of each reported model, task, variant and rank; from the sweep: score, seeds, edge.

    Parameters
    ----------
    runs
        The reported cells. What trains nothing is left out.
    selected
        The outcome of the sweep, columns model, task, variant, rank, lr, score, seeds, edge. What
        was not swept, or runs at another rate, has no score.
    """
    trained = runs[runs["trainable_parameters"] > 0]
    table = trained.drop_duplicates([*POINT, "lr"])[[*POINT, "lr", "metric"]]
    if selected is None:
        table = table.assign(score=np.nan, seeds=0, edge="")
    else:
        table = table.merge(selected, on=[*POINT, "lr"], how="left")
        table = table.fillna({"seeds": 0, "edge": ""}).astype({"seeds": int})
    return formats.by_variant(table, first=["model", "task"])


def printed(table: pd.DataFrame) -> pd.DataFrame:
    """The same as text."""
    text = pd.DataFrame(
        {
            "Model": table["model"],
            "Task": table["task"].map(style.task_label),
            "Method": table["variant"].map(style.label),
            "Rank": [str(rank or formats.MISSING) for rank in table["rank"]],
            "Learning rate": table["lr"],
            "Score": [
                f"{formats.percent(score)} ({seeds})" if seeds else "not swept"
                for score, seeds in zip(table["score"], table["seeds"], strict=True)
            ],
            "Place in the grid": [EDGES.get(edge, formats.MISSING) for edge in table["edge"]],
        }
    )
    return formats.without_single_model(text)


if "snakemake" in globals():
    swept = snakemake.input.get("selected")
    table = learning_rates(read(snakemake.input.runs), read(swept) if swept else None)
    formats.write(
        table,
        printed(table),
        NOTES,
        csv=snakemake.output.csv,
        md=snakemake.output.md,
        tex=snakemake.output.tex,
    )
