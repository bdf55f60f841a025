"""Rule `collect`."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from lorasb.evaluation.score import ITEM_COLUMNS, WHOLE
from lorasb.files import atomic
from lorasb.study.cells import Cell
from lorasb.study.paths import DIRECTIONS, GRADIENT_PROBES, SPECTRA, TABLES
from lorasb.study.study import Study
from lorasb.tidy.data import data_rows
from lorasb.tidy.runs import losses, run_row
from lorasb.tidy.tables import present, read_scores, score_folders, write_table

JOINED = {"directions": DIRECTIONS, "gradients": GRADIENT_PROBES, "spectra": SPECTRA}


def collect(study: str, *, available: bool = False) -> None:
    """The tidy tables of a study. With `available`, cells without results are rows that say so."""
    found = Study.load(study)
    cells = found.cells
    scores = read_scores(cells, "test")
    done = [cell for cell in cells if present(cell, available=available)]
    tables = Path(TABLES.format(study=study))
    runs = pd.DataFrame([run_row(found, cell, scores) for cell in cells])
    write_table(runs, tables / "runs.csv")
    write_table(scores, tables / "scores.csv")
    write_table(losses(done), tables / "losses.csv")
    write_table(data_rows(cells), tables / "data.csv")
    for name, pattern in JOINED.items():
        write_table(_joined(cells, pattern, available=available), tables / f"{name}.csv")
    items = [pd.read_parquet(folder / "test.items.parquet") for folder in score_folders(cells)]
    with atomic(tables / "items.parquet") as partial:
        table = pd.concat(items, ignore_index=True).reindex(columns=ITEM_COLUMNS)
        table.fillna({"set": WHOLE}).to_parquet(partial, index=False)


def _joined(cells: list[Cell], pattern: str, *, available: bool) -> pd.DataFrame:
    paths = dict.fromkeys(cell.path(pattern) for cell in cells)
    tables = [pd.read_csv(path) for path in paths if path.exists() or not available]
    return pd.concat(tables, ignore_index=True)
