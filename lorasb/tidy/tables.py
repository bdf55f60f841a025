"""What tidy tables share: which cells have results, and their scores."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pandas as pd

from lorasb.errors import UserError, remake
from lorasb.evaluation.score import METRIC_COLUMNS
from lorasb.files import read_record
from lorasb.study.cells import COLUMNS, Cell
from lorasb.study.paths import FAILED, SCORES
from lorasb.study.study import Study
from lorasb.tidy.read import read_csv


def read_scores(cells: list[Cell], split: str) -> pd.DataFrame:
    """Every metric of the cells on a split."""
    # tables written before there were sets lack their column
    known = [name for name in METRIC_COLUMNS if name != "set"]
    tables = [read_csv(folder / f"{split}.metrics.csv", known) for folder in score_folders(cells)]
    return pd.concat(tables, ignore_index=True).reindex(columns=METRIC_COLUMNS)


def scores_of(study: Study, cells: list[Cell], scores: pd.DataFrame) -> pd.DataFrame:
    """The scores of cells that have results, among those of all.

    Raises
    ------
    UserError
        If one of them has no score, or two.
    """
    scores = of_cells(cells, scores)
    whole = scores[scores["set"].isna()]
    found = Counter(zip(*(whole[name] for name in (*COLUMNS, "metric")), strict=True))
    for cell in cells:
        for metric in study.tasks[cell.task].metrics:
            number = found[(*cell.columns.values(), metric)]
            if number != 1:
                path = cell.path(SCORES) / f"{cell.split}.metrics.csv"
                raise UserError(
                    f"{path}: {number} values of {metric} of {cell.folder}; {remake(path)}"
                )
    return scores


def of_cells(cells: list[Cell], table: pd.DataFrame) -> pd.DataFrame:
    """The rows of a table that are of these cells."""
    names = {tuple(cell.columns.values()) for cell in cells}
    chosen = [key in names for key in zip(*(table[name] for name in COLUMNS), strict=True)]
    return table[chosen]


def score_folders(cells: list[Cell]) -> list[Path]:
    """Where the scores of the cells' tasks are, each once."""
    return list(dict.fromkeys(cell.path(SCORES) for cell in cells))


def primary_score(cell: Cell, metric: str, scores: pd.DataFrame) -> float | None:
    """The cell's value of a metric on its whole split; None if it has none."""
    # a row of one evaluation set names it
    wanted = (scores["metric"] == metric) & scores["set"].isna()
    for name, value in cell.columns.items():
        wanted &= scores[name] == value
    found = scores.loc[wanted, "value"]
    return None if found.empty else float(found.iloc[0])


def present(cell: Cell, *, available: bool) -> bool:
    """Whether the cell has predictions of its last run; if not, an error unless `available`."""
    path = cell.folder / "predictions.jsonl"
    reason = failure(cell)
    if reason is None or available:
        return reason is None
    what = "its last run failed" if cell.path(FAILED).exists() else "no results"
    raise UserError(f"{path}: {what} ({reason}); {remake(path)}, or use --available")


def failure(cell: Cell) -> str | None:
    """Why a cell has no results; None if it has."""
    noted = cell.path(FAILED)
    if noted.exists():
        return str(read_record(noted, "reason")["reason"])
    return None if (cell.folder / "predictions.jsonl").exists() else "not run"
