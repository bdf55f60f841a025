"""Rule `collect`."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from lorasb.evaluation.score import ITEM_COLUMNS, WHOLE
from lorasb.files import atomic, write_csv
from lorasb.study.cells import Cell
from lorasb.study.paths import DIRECTIONS, GRADIENT_PROBES, SPECTRA, TABLES
from lorasb.study.study import Study
from lorasb.tidy.data import data_rows
from lorasb.tidy.runs import losses, run_row
from lorasb.tidy.tables import present, read_scores, score_folders

JOINED = {"directions": DIRECTIONS, "gradients": GRADIENT_PROBES, "spectra": SPECTRA}


def collect(study: str, *, available: bool = False) -> None:
    """The tidy tables of a study. With `available`, cells without results are rows that say so."""
    found = Study.load(study)
    cells = found.cells
    scores = read_scores(cells, "test")
    done = [cell for cell in cells if present(cell, available=available)]
    tables = Path(TABLES.format(study=study))
    runs = pd.DataFrame([run_row(found, cell, scores) for cell in cells])
    write_csv(tables / "runs.csv", runs)
    write_csv(tables / "scores.csv", scores)
    write_csv(tables / "losses.csv", losses(done))
    write_csv(tables / "data.csv", data_rows(cells))
    for name, pattern in JOINED.items():
        write_csv(tables / f"{name}.csv", _joined(cells, pattern, available=available))
    items = [pd.read_parquet(folder / "test.items.parquet") for folder in score_folders(cells)]
    with atomic(tables / "items.parquet") as partial:
        table = pd.concat(items, ignore_index=True).reindex(columns=ITEM_COLUMNS)
        table.fillna({"set": WHOLE}).to_parquet(partial, index=False)


def _joined(cells: list[Cell], pattern: str, *, available: bool) -> pd.DataFrame:
    paths = dict.fromkeys(cell.path(pattern) for cell in cells)
    tables = [pd.read_csv(path) for path in paths if path.exists() or not available]
    return pd.concat(tables, ignore_index=True)
