"""What each method costs, side by side: numbers to train, keep and serve; time; memory."""

from typing import TYPE_CHECKING

import pandas as pd

from analysis import formats, versions
from analysis.names import Names
from analysis.tidy import POINT, read

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

NUMBERS = {
    "trainable_parameters": "Trainable",
    "task_head_parameters": "Task head",
    "stored_parameters": "Stored",
    "served_parameters": "Served",
}
BYTES = {
    "stored_bytes": "Stored bytes",
    "optimizer_state_bytes": "Optimizer state",
    "peak_memory_bytes": "Peak memory",
}
SECONDS = {
    "gradient_seconds": "Gradient (s)",
    "factorize_seconds": "SVD (s)",
    "train_seconds": "Training (s)",
    "predict_seconds": "Prediction (s)",
}
SPEED = {"tokens_per_second": "Tokens/s"}
RUNS = [*POINT, "score", *NUMBERS, *BYTES, *SECONDS, *SPEED]

NOTES = [
    "Medians over seeds. Trainable, stored and served are numbers of parameters without the task"
    " head, except for full fine-tuning, which has it among its own. Stored: what must be kept to"
    " load the adapter again. Served: what is left beside the base model after merging.",
    "Stored bytes and optimizer state include the task head, at four bytes a number, two where it"
    " is trained in bfloat16. Gradient and SVD are done once and shared by all ranks and rates.",
]


def costs(runs: pd.DataFrame, names: Names) -> pd.DataFrame:
    """The median of every cost over the cells of each model, task, variant and rank, and their n.

    Cells that failed have parameter counts but no times.
    """
    columns = [*NUMBERS, *BYTES, *SECONDS, *SPEED]
    groups = runs.groupby(POINT, sort=False)
    whole = dict.fromkeys(NUMBERS, int)
    table = (
        groups[columns]
        .median()
        .astype(whole)
        .join(groups["score"].count().rename("n"))
        .reset_index()
    )
    return formats.by_variant(table, names, first=["model", "task"])


def printed(table: pd.DataFrame, names: Names) -> pd.DataFrame:
    """The same as text, with units."""
    text = pd.DataFrame(
        {
            "Model": table["model"].map(names.model),
            "Task": table["task"].map(names.task),
            "Method": table["variant"].map(names.label),
            "Rank": table["rank"].map(formats.rank),
        }
    )
    for column, name in NUMBERS.items():
        text[name] = table[column].map(formats.count)
    for column, name in BYTES.items():
        text[name] = [formats.quantity(value, "B") for value in table[column]]
    for column, name in (SECONDS | SPEED).items():
        text[name] = table[column].map(formats.quantity)
    return formats.without_single_model(text.assign(n=table["n"].astype(str)))


if "snakemake" in globals():
    names = Names.read(snakemake.input.names)
    runs = read(snakemake.input.runs, needs=RUNS)
    table = costs(runs, names)
    notes = NOTES + versions.notes(runs)
    formats.write(table, printed(table, names), notes, **dict(snakemake.output.items()))
