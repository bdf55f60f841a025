"""What tidy tables share: which cells have results, and their scores."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from lorasb.errors import UserError, remake
from lorasb.evaluation.score import METRIC_COLUMNS
from lorasb.files import read_record
from lorasb.study.cells import COLUMNS, Cell
from lorasb.study.paths import FAILED, SCORES
from lorasb.study.read import read_csv
from lorasb.study.study import Study


def read_scores(cells: list[Cell], split: str) -> pd.DataFrame:
    """Every metric of the cells on a split."""
    # tables written before there were sets lack their column
    known = [name for name in METRIC_COLUMNS if name != "set"]
    tables = [read_csv(folder / f"{split}.metrics.csv", known) for folder in score_folders(cells)]
    found = pd.concat(tables, ignore_index=True) if tables else pd.DataFrame()
    return found.reindex(columns=METRIC_COLUMNS)


def scores_of(study: Study, cells: list[Cell], scores: pd.DataFrame) -> pd.DataFrame:
    """The scores of cells that have results, among those of all.

    Raises
    ------
    UserError
        If one of them has no score, or two.
    """
    scores = of_cells(cells, scores)
    whole = scores[scores["set"].isna()]
    found = Counter(_keys(whole, "metric"))
    for cell in cells:
        for metric in study.tasks[cell.task].metrics_on(cell.split):
            number = found[(*cell.columns.values(), metric)]
            if number != 1:
                path = cell.path(SCORES) / f"{cell.split}.metrics.csv"
                raise UserError(
                    f"{path}: {number} values of {metric} of {cell.folder}; {remake(path)}"
                )
    return scores


def of_cells(cells: Iterable[Cell], table: pd.DataFrame) -> pd.DataFrame:
    """The rows of a table that are of these cells, by the coordinates that it has."""
    own = _places(cells, table)
    return table[np.array([key in own for key in _keys(table)], dtype=bool)]


def in_order(cells: Iterable[Cell], table: pd.DataFrame) -> pd.DataFrame:
    """The rows of a table in the order of the cells that they are of."""
    places = _places(cells, table)
    return table.iloc[np.argsort([places[key] for key in _keys(table)], kind="stable")]


def _places(cells: Iterable[Cell], table: pd.DataFrame) -> dict[tuple[Any, ...], int]:
    """Each cell's place, by those of its coordinates that a table has."""
    names = _coordinates(table)
    return {tuple(cell.columns[name] for name in names): n for n, cell in enumerate(cells)}


def _keys(table: pd.DataFrame, *more: str) -> Iterator[tuple[Any, ...]]:
    """The coordinates of the cell in each row, and more of its columns."""
    return zip(*(table[name].tolist() for name in (*_coordinates(table), *more)), strict=True)


def _coordinates(table: pd.DataFrame) -> list[str]:
    return [name for name in COLUMNS if name in table]


def score_folders(cells: list[Cell]) -> list[Path]:
    """Where the scores of the cells' tasks are, each once."""
    return list(dict.fromkeys(cell.path(SCORES) for cell in cells))


def whole_scores(scores: pd.DataFrame) -> dict[tuple[Any, ...], float]:
    """Values of metrics on whole splits, by the coordinates of the cell and the metric."""
    # a row of one evaluation set names it
    whole = scores[scores["set"].isna()]
    return dict(zip(_keys(whole, "metric"), whole["value"].tolist(), strict=True))


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
