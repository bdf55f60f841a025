"""Scores on each evaluation set of tasks that have several: mean over seeds and interval."""

from typing import TYPE_CHECKING

import pandas as pd

from analysis import formats, stats, style, versions
from analysis.names import Names
from analysis.tidy import POINT, read, rows

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

COLUMNS = [*POINT, "seed", "set", "metric", "value", "primary"]

NOTES = [
    formats.SCORE_NOTE,
    "The mean of a task's sets is its score in the other tables; each set counts alike, whatever"
    " its rows.",
]


def by_set(scores: pd.DataFrame, names: Names) -> pd.DataFrame:
    """`stats.score_means` over the seeds of each point and set; long format.

    Rows whose `set` is empty are of the mean of the task's sets. Tasks with one set are left out.
    """
    tasks = scores.loc[scores["set"].notna(), "task"].unique()
    chosen = scores[scores["primary"] & scores["task"].isin(tasks)].fillna({"set": ""})
    table = stats.score_means(chosen, [*POINT, "set", "metric"], "value")
    return formats.by_variant(table, names, first=["model", "task"])


def printed(table: pd.DataFrame, runs: pd.DataFrame, names: Names) -> pd.DataFrame:
    """One row a method and rank of `runs`, one column a set, the mean of a task's sets last.

    Sets come in order of appearance; a task is named where several have sets.
    """
    cells = {
        (row.model, row.variant, row.rank, row.task, row.set): formats.score(row)
        for row in rows(table)
    }
    columns = table[["task", "set", "metric"]].drop_duplicates()
    columns = columns.assign(whole=columns["set"] == "", place=pd.factorize(columns["task"])[0])
    columns = columns.sort_values(["place", "whole"], kind="stable")
    lines = []
    points = runs[["model", "variant", "rank"]].drop_duplicates()
    for point in rows(formats.by_variant(points, names, first=["model"])):
        line = {
            "Model": names.model(point.model),
            "Method": names.label(point.variant),
            "Rank": formats.rank(point.rank),
        }
        for column in rows(columns):
            name = names.set(column.set) if column.set else "Mean of sets"
            prefix = f"{names.task(column.task)}: " if columns["place"].any() else ""
            key = (point.model, point.variant, point.rank, column.task, column.set)
            title = f"{prefix}{name}, {style.metric_label(column.metric).lower()}"
            line[title] = cells.get(key, formats.MISSING)
        lines.append(line)
    return formats.without_single_model(pd.DataFrame(lines))


if "snakemake" in globals():
    names = Names.read(snakemake.input.names)
    runs = read(snakemake.input.runs, needs=["model", "variant", "rank"])
    table = by_set(read(snakemake.input.scores, columns=COLUMNS), names)
    notes = NOTES + versions.notes(runs)
    formats.write(table, printed(table, runs, names), notes, **dict(snakemake.output.items()))
