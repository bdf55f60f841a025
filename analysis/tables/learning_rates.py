"""The learning rate that the sweep chose for each method, and where in its grid it lies."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import pandas as pd

from analysis import formats
from analysis.edges import EDGES
from analysis.names import Names
from analysis.tidy import read

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

RATES = ["model", "task", "variant", "rank", "lr", "score", "seeds", "edge"]

NOTES = [
    "Score x 100 on the selection split, which is cut from the training data: mean over the seeds"
    " of the sweep (their number), which are not those of the reported runs.",
    "Where a rate is the lowest or highest tried, the method may do better outside the grid.",
]


def learning_rates(selected: pd.DataFrame, names: Names) -> pd.DataFrame:
    """The outcome of a sweep in display order.

    Parameters
    ----------
    selected
        Columns model, task, variant, rank, lr (text), score, seeds, edge (none, low or high).
    """
    return formats.by_variant(selected, names, first=["model", "task"])


def printed(table: pd.DataFrame, names: Names) -> pd.DataFrame:
    """The same as text."""
    scores = zip(table["score"], table["seeds"], strict=True)
    text = pd.DataFrame(
        {
            "Model": table["model"].map(names.model),
            "Task": table["task"].map(names.task),
            "Method": table["variant"].map(names.label),
            "Rank": table["rank"].map(formats.rank),
            "Learning rate": table["lr"],
            "Score": [f"{formats.percent(score)} ({seeds})" for score, seeds in scores],
            "Place in the grid": table["edge"].map(EDGES),
        }
    )
    return formats.without_single_model(text)


def loss_notes(tasks: Sequence[str], names: Names) -> list[str]:
    """The note on tasks whose rates are chosen by a loss; none where there is no such task."""
    if not tasks:
        return []
    labels = ", ".join(map(names.task, tasks))
    return [f"On {labels} the score is the loss, in nats a token: lower is better."]


def notes(stale: Sequence[str], losses: Sequence[str] = ()) -> list[str]:
    """Notes of the table, with those of `loss_notes`.

    `stale` names the points that the sweep chose under other settings.
    """
    late = f"OUT OF DATE, settings have changed since the sweep: {'; '.join(stale)}."
    return [*NOTES, *losses, *([late] if stale else [])]


if "snakemake" in globals():
    names = Names.read(snakemake.input.names)
    table = learning_rates(read(snakemake.input.rates, needs=RATES), names)
    formats.write(
        table,
        printed(table, names),
        notes(snakemake.params["stale"], loss_notes(snakemake.params["by_loss"], names)),
        **dict(snakemake.output.items()),
    )
