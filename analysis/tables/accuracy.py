"""Scores by method, rank and task: mean over seeds, interval, number of seeds."""

from typing import TYPE_CHECKING

import pandas as pd

from analysis import edges, formats, stats, style, versions
from analysis.names import Names
from analysis.tidy import MEAN, POINT, read, rows, succeeded

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

RUNS = [*POINT, "seed", "status", "reason", "metric", "score"]


def accuracy(runs: pd.DataFrame, names: Names) -> pd.DataFrame:
    """`stats.score_means` over the seeds of each model, task, variant and rank; long format.

    Rows with task `mean` average the scores of a seed over all tasks of the model first; a seed
    that lacks a task is not in them.
    """
    done = succeeded(runs)
    over_tasks = done.groupby(["model", "variant", "rank", "seed"], sort=False)["score"].agg(
        ["mean", "size"]
    )
    tasks = runs.groupby("model")["task"].nunique()
    complete = over_tasks[
        over_tasks["size"] == tasks.loc[over_tasks.index.get_level_values(0)].to_numpy()
    ]
    complete = complete.rename(columns={"mean": "score"}).reset_index().assign(task=MEAN)
    # a mean may be as low as the metric that may be lowest
    widest = runs.groupby("model")["metric"].agg(lambda metrics: min(metrics, key=stats.bounds))
    complete["metric"] = complete["model"].map(widest)
    keys = [*POINT, "metric"]
    table = stats.score_means(pd.concat([done, complete], ignore_index=True), keys)
    table.loc[table["task"] == MEAN, "metric"] = ""
    return formats.by_variant(table, names, first=["model", "task"])


def printed(table: pd.DataFrame, runs: pd.DataFrame, names: Names) -> pd.DataFrame:
    """One row a method and rank, one column a task, cells such as `81.2 ± 1.3 (3)`."""
    cells = {
        (row.model, row.variant, row.rank, row.task): formats.score(row) for row in rows(table)
    }
    tasks = runs[["task", "metric"]].drop_duplicates()
    points = runs[["model", "variant", "rank"]].drop_duplicates()
    lines = []
    for point in rows(formats.by_variant(points, names, first=["model"])):
        key = (point.model, point.variant, point.rank)
        line = {
            "Model": names.model(point.model),
            "Method": names.label(point.variant),
            "Rank": formats.rank(point.rank),
        }
        for column in rows(tasks):
            title = f"{names.task(column.task)}, {style.metric_label(column.metric).lower()}"
            line[title] = cells.get((*key, column.task), formats.MISSING)
        if len(tasks) > 1:
            line["Mean over tasks"] = cells.get((*key, MEAN), formats.MISSING)
        lines.append(line)
    return formats.without_single_model(pd.DataFrame(lines))


def notes(runs: pd.DataFrame, names: Names) -> list[str]:
    """How to read a cell, and the cells that failed."""
    lines = [formats.SCORE_NOTE]
    failed = [
        f"{names.task(row.task)}, {names.label(row.variant, row.rank)}, seed {row.seed}"
        f" ({row.reason})"
        for row in rows(runs[runs["status"] != "ok"])
    ]
    return lines + ([f"Without a score: {'; '.join(failed)}."] if failed else [])


if "snakemake" in globals():
    all_runs, names = read(snakemake.input.runs, needs=RUNS), Names.read(snakemake.input.names)
    table = accuracy(all_runs, names)
    formats.write(
        table,
        printed(table, all_runs, names),
        notes(all_runs, names)
        + edges.notes(snakemake.params["edges"], names)
        + versions.notes(all_runs),
        **dict(snakemake.output.items()),
    )
