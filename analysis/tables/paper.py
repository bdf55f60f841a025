"""The study's numbers beside the paper's: trainable parameters and scores."""

from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pandas as pd

from analysis import formats, stats, style, versions
from analysis.names import Names
from analysis.tidy import read, rows

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

MEAN = "mean"  # stands for a task: the mean over the tasks of one of the paper's tables
NOT_RUN = "not run"
POWERS = {"K": 3, "M": 6, "B": 9}
POINT = ["model", "variant", "rank"]
SCORE = ["model", "task", "set", "metric", "variant", "rank"]
SCORES = [*SCORE, "seed", "value"]
RUNS = [*POINT, "trainable_parameters"]
PAPER = ["table", *SCORE, "printed_parameters", "value"]

NOTES = [
    "The paper's numbers are quoted from a public reproduction of it, not read in the paper itself."
    " Scores x 100; ours: mean over seeds, 95 % t interval, number of seeds. Not run: the study"
    " has no such score.",
    "Same: the printed number of trainable parameters differs by less than one unit of its last"
    " digit; the paper rounds some and cuts others. Neither counts the task head.",
]


def compared(paper: pd.DataFrame, runs: pd.DataFrame, scores: pd.DataFrame) -> pd.DataFrame:
    """The paper's rows of the models of `runs`, with our counts and scores where there are any.

    Parameters
    ----------
    paper
        Columns table, model, task, set, metric, variant, rank, printed_parameters, value (x 100).
        Rows with task `mean` are averages over the tasks of the same table and model.
    runs, scores
        The tidy tables.

    Returns
    -------
    Columns of `paper`, its value as a fraction in `paper`, then trainable_parameters,
    same_parameters (yes, no, or empty), mean, low, high, n and difference.
    """
    rows_here = paper[paper["model"].isin(runs["model"])].fillna({"set": ""})
    means = stats.means(_by_seed(rows_here, scores.fillna({"set": ""})), SCORE, "value")
    counts = runs.drop_duplicates(POINT)[[*POINT, "trainable_parameters"]]
    table = rows_here.fillna({"metric": ""}).merge(counts, how="left", on=POINT)
    table = table.merge(means, how="left", on=SCORE).fillna({"n": 0}).astype({"n": int})
    table["trainable_parameters"] = table["trainable_parameters"].astype("Int64")
    pairs = zip(table["trainable_parameters"], table["printed_parameters"], strict=True)
    table["same_parameters"] = [_same(count, text) for count, text in pairs]
    table = table.rename(columns={"value": "paper"})
    table["paper"] /= 100
    return table.assign(difference=table["mean"] - table["paper"])


def same_count(count: int, text: str) -> bool:
    """Whether a count is a printed one, `83.88M`, to less than a unit of its last digit."""
    power = POWERS[text[-1]]
    number = Decimal(text[:-1])
    exponent = number.as_tuple().exponent
    assert isinstance(exponent, int)
    unit = Decimal(10) ** (power + exponent)
    return abs(count - number.scaleb(power)) < unit


def printed(table: pd.DataFrame, names: Names) -> pd.DataFrame:
    """The same as text."""
    text = pd.DataFrame(
        {
            "In the paper": table["table"],
            "Model": table["model"].map(names.model),
            "Score": [_score_name(row, names) for row in rows(table)],
            "Method": table["variant"].map(names.label),
            "Rank": table["rank"].map(formats.rank),
            "Trainable, paper": table["printed_parameters"],
            "Trainable, ours": [
                formats.MISSING if pd.isna(count) else formats.count(count)
                for count in table["trainable_parameters"]
            ],
            "Same": table["same_parameters"].replace("", formats.MISSING),
            "Paper": [formats.percent(value, 2) for value in table["paper"]],
            "Ours": [_ours(row) for row in rows(table)],
            "Difference": [formats.percent(value, 2) for value in table["difference"]],
        }
    )
    return formats.without_single_model(text)


def _by_seed(paper: pd.DataFrame, scores: pd.DataFrame) -> pd.DataFrame:
    """Our score of each row and seed; a mean only where a seed has all its tasks."""
    mean = paper["task"] == MEAN
    found = paper[~mean].drop(columns="value").merge(scores[SCORES], on=SCORE)
    groups = found.groupby(["table", *POINT, "seed"])
    over_tasks = groups["value"].agg(value="mean", size="size").reset_index()
    wanted = paper[~mean].groupby(["table", *POINT]).size().rename("wanted").reset_index()
    over_tasks = over_tasks.merge(wanted, on=["table", *POINT])
    complete = over_tasks[over_tasks["size"] == over_tasks["wanted"]]
    means = paper.loc[mean, ["table", *SCORE]].fillna({"metric": ""})
    complete = means.merge(complete, on=["table", *POINT])
    return pd.concat([found[SCORES], complete[SCORES]], ignore_index=True)


def _same(count: Any, text: str) -> str:
    if pd.isna(count):
        return ""
    return "yes" if same_count(int(count), text) else "no"


def _score_name(row: Any, names: Names) -> str:
    if not row.metric:
        return "Mean of the tasks"
    task = names.task(row.task)
    name = f"{task}: {names.set(row.set)}" if row.set else task
    return f"{name}, {style.metric_label(row.metric).lower()}"


def _ours(row: Any) -> str:
    if not row.n:
        return NOT_RUN
    bounds = "" if pd.isna(row.low) else f" {formats.interval(row.low, row.high, 2)}"
    return f"{formats.percent(row.mean, 2)}{bounds} ({row.n})"


if "snakemake" in globals():
    runs = read(snakemake.input.runs, needs=RUNS)
    table = compared(
        read(snakemake.input.paper, needs=PAPER),
        runs[RUNS],
        read(snakemake.input.scores, columns=SCORES),
    )
    formats.write(
        table,
        printed(table, Names.read(snakemake.input.names)),
        NOTES + versions.notes(runs),
        **dict(snakemake.output.items()),
    )
