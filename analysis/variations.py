"""Variants of a method that differ in one argument alone, and lines over that argument."""

from __future__ import annotations

import json
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis import panels, stats, style
from analysis.names import Names
from analysis.tidy import POINT, groups, succeeded

SAMPLES = "samples"  # a column of `runs`, not an argument of a method
LINE = ["model", "task", "line", "rank"]
Looks = dict[tuple[str, int], dict[str, Any]]
Row = dict[tuple[str, str], Axes]  # panels of a row by (model, task)
RUNS = [*POINT, "seed", "method", "arguments", SAMPLES, "status", "metric", "score"]


def varied(runs: pd.DataFrame, name: str, names: Names) -> pd.DataFrame:
    """The runs of variants that differ from another one of their method and rank in `name` alone.

    Parameters
    ----------
    runs
        The columns `RUNS` of the tidy table `runs`; `arguments` is JSON text.
    name
        An argument of the method, or `samples`.

    Returns
    -------
    The rows with `value`, a number, and `line`, the variant that stands for all that differ in
    nothing else: the method's own where there is one such line, else the first in display order.
    """
    arguments = [json.loads(text) for text in runs["arguments"]]
    others = [{key: found[key] for key in sorted(found.keys() - {name})} for found in arguments]
    table = runs.assign(
        value=runs[SAMPLES] if name == SAMPLES else argument(runs, name),
        others=[json.dumps(found) for found in others],
    ).dropna(subset=["value"])
    keys = ["method", "others", "rank", "model", "task", *([] if name == SAMPLES else [SAMPLES])]
    # variants that state what is the study's own value anyway are the same runs
    table = table.drop_duplicates([*keys, "value", "seed"])
    table = table[table.groupby(keys, dropna=False)["value"].transform("nunique") > 1]

    def first(variants: pd.Series) -> str:
        return names.ordered(variants)[0]

    families = table.groupby(["method", "others"])["variant"].agg(first).reset_index(name="line")
    alone = ~families["method"].duplicated(keep=False)
    families["line"] = families["line"].mask(alone, families["method"])
    return table.merge(families, on=["method", "others"]).drop(columns="others")


def argument(runs: pd.DataFrame, name: str) -> pd.Series:
    """The number of one argument in each row; NaN where a variant lacks it."""
    values = [json.loads(text).get(name) for text in runs["arguments"]]
    return pd.Series(values, runs.index, dtype=float)


def with_scores(runs: pd.DataFrame) -> pd.DataFrame:
    """The runs of tasks that have a score at all."""
    scored = (runs["status"] == "ok").groupby([runs["model"], runs["task"]]).transform("any")
    return runs[scored]


def percent_scores(runs: pd.DataFrame, keys: list[str]) -> pd.DataFrame:
    """`stats.score_means` of the runs that have a score, x 100."""
    means = stats.score_means(succeeded(runs), keys)
    columns = ["mean", "low", "high"]
    return means.assign(**{column: 100 * means[column] for column in columns})


def looks(table: pd.DataFrame, names: Names) -> Looks:
    """Arguments of `Axes.errorbar` for each (line, rank)."""
    markers = {name: look.marker for name, look in names.styles(table["line"]).items()}
    found = panels.line_styles(table.assign(variant=table["line"]), names)
    return {key: {**look, "marker": markers[key[0]]} for key, look in found.items()}


def rows(
    number: int, tasks: list[tuple[str, str]], title: str, names: Names
) -> tuple[Figure, list[Row]]:
    """A figure with rows of panels over one x axis, one column a task with its name above."""
    figure = panels.new_figure(number, len(tasks), title)
    grid = figure.subplots(number, len(tasks), sharex=True, squeeze=False)
    panels.title_panels(grid[0], tasks, names)
    return figure, [dict(zip(tasks, line, strict=True)) for line in grid]


def draw_lines(row: Row, means: pd.DataFrame, styles: Looks) -> None:
    """One line a (line, rank) over `value` in the panel of its task, bars for the intervals.

    Lines are a few points beside each other, so that bars at the same place can be seen.
    """
    keys = list(styles)
    for (model, task, line, rank), curve in groups(means.sort_values("value", kind="stable"), LINE):
        shift = panels.DODGE * (keys.index((line, rank)) - (len(keys) - 1) / 2)
        panels.error_line(row[model, task], curve["value"], curve, shift, **styles[line, rank])


def label_scores(row: Row, runs: pd.DataFrame) -> None:
    """The metric of each task beside its panel."""
    metrics = runs.groupby(["model", "task"])["metric"].first()
    for task, axes in row.items():
        axes.set_ylabel(style.percent_label(metrics[task]))
