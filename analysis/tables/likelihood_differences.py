"""Which methods differ in how likely they find right answers, row by row."""

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from analysis import formats
from analysis.names import Names
from analysis.tables.paired_differences import paired_differences, printed
from analysis.tidy import POINT, read

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

ITEMS = [*POINT, "seed", "item", "answer_loss"]

NOTES = [
    "A - B: log-likelihood of the right answer, the mean over its tokens, under A minus that under"
    " B, in nats x 100: the loss of B minus the loss of A, so that more is better. Else as the"
    " paired differences of replies.",
]


def of_likelihood(items: pd.DataFrame) -> pd.DataFrame:
    """The items that have the loss of the right answer, its negative in the predictions' place."""
    own = items.dropna(subset=["answer_loss"])
    return own.assign(
        metric="likelihood", prediction=-own["answer_loss"], label=0.0, correct=np.nan
    )


if "snakemake" in globals():
    names, rng = Names.read(snakemake.input.names), np.random.default_rng(0)
    items = of_likelihood(read(snakemake.input.per_item, needs=ITEMS))
    table = paired_differences(items, names, rng)
    formats.write(table, printed(table, names), NOTES, **dict(snakemake.output.items()))
