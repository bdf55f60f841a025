"""What tidy tables share: the scores of cells."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from lorasb.errors import UserError
from lorasb.evaluation.score import METRIC_COLUMNS
from lorasb.files import read_csv
from lorasb.study.cells import Cell
from lorasb.study.paths import SCORES


def read_scores(cells: list[Cell], split: str) -> pd.DataFrame:
    """Every metric of the cells on a split."""
    # tables written before there were sets lack their column
    known = [name for name in METRIC_COLUMNS if name != "set"]
    tables = [read_csv(folder / f"{split}.metrics.csv", known) for folder in score_folders(cells)]
    return pd.concat(tables, ignore_index=True).reindex(columns=METRIC_COLUMNS)


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
    """Whether the cell has predictions; an error where it has none and not `available`."""
    path = cell.folder / "predictions.jsonl"
    if not path.exists() and not available:
        raise UserError(f"{path}: no such file; run the rule 'train' or use --available")
    return path.exists()
