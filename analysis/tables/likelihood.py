"""How likely right answers are found, beside how often replies are right."""

from typing import TYPE_CHECKING, Any

import pandas as pd

from analysis import formats, stats
from analysis.names import Names
from analysis.tidy import POINT, read, rows

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

COLUMNS = [*POINT, "seed", "set", "metric", "value", "primary"]
LOSS, CHOICES = "answer_loss", ("choice", "choice_norm")

NOTES = [
    formats.SCORE_NOTE,
    "Loss: nats a token of the right answer, its end-of-text token included, not x 100; lower is"
    " better.",
    "Likeliest option: of those that an item has, the one with the highest likelihood, and the one"
    " with the highest likelihood over its number of characters. Where options differ in a letter"
    " both are the same.",
]


def likelihood(scores: pd.DataFrame, names: Names) -> pd.DataFrame:
    """`stats.score_means` over the seeds of each point, set and metric; long format.

    The metrics are the primary one and those by likelihood, of tasks that have the loss. Rows whose
    `set` is empty are of the mean of a task's sets, or of a task without any.
    """
    tasks = scores.loc[scores["metric"] == LOSS, "task"].unique()
    shown = scores["primary"] | scores["metric"].isin([LOSS, *CHOICES])
    chosen = scores[shown & scores["task"].isin(tasks)].fillna({"set": ""})
    keys = [*POINT, "set", "metric", "primary"]
    return formats.by_variant(
        stats.score_means(chosen, keys, "value"), names, first=["model", "task", "set"]
    )


def printed(table: pd.DataFrame, names: Names) -> pd.DataFrame:
    """One row a task or set, method and rank."""
    lines: dict[tuple[object, ...], dict[str, str]] = {}
    for row in rows(table):
        key = (row.model, row.task, row.set, row.variant, row.rank)
        title = f"{names.task(row.task)}, {names.set(row.set)}" if row.set else names.task(row.task)
        line = lines.setdefault(
            key,
            {
                "Model": names.model(row.model),
                "Task": title,
                "Method": names.label(row.variant),
                "Rank": formats.rank(row.rank),
                "Replies right": formats.MISSING,
                "Likeliest option right": formats.MISSING,
                "by length": formats.MISSING,
                "Loss": formats.MISSING,
            },
        )
        if row.primary:
            line["Replies right"] = formats.score(row)
        elif row.metric == LOSS:
            line["Loss"] = _nats(row)
        else:
            name = "by length" if row.metric == "choice_norm" else "Likeliest option right"
            line[name] = formats.score(row)
    return formats.without_single_model(pd.DataFrame(list(lines.values())))


def _nats(row: Any) -> str:
    half = "" if row.n < 2 else f" ± {(row.high - row.low) / 2:.3f}"
    return f"{row.mean:.3f}{half} ({row.n})"


if "snakemake" in globals():
    names = Names.read(snakemake.input.names)
    table = likelihood(read(snakemake.input.scores, needs=COLUMNS), names)
    formats.write(table, printed(table, names), NOTES, **dict(snakemake.output.items()))
