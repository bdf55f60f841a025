"""Rule `collect`."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from lorasb.evaluation.score import ITEM_COLUMNS, VERDICTS, WHOLE
from lorasb.files import atomic, write_csv
from lorasb.probes import gradients, spectra, updates
from lorasb.records import Inputs, write_record
from lorasb.study.cells import Cell
from lorasb.study.paths import DATA, DIRECTIONS, GRADIENT_PROBES, SPECTRA, TABLES
from lorasb.study.read import join_csv, read_parquet
from lorasb.study.study import Study
from lorasb.tasks.checks import BY_LIKELIHOOD
from lorasb.tidy.data import data_rows
from lorasb.tidy.origins import origins
from lorasb.tidy.released import with_released
from lorasb.tidy.runs import cost_files, losses, run_row
from lorasb.tidy.tables import (
    of_cells,
    present,
    read_scores,
    score_folders,
    scores_of,
    whole_scores,
)

ORIGIN = ("predictions.jsonl", "provenance.json", "config.json")
SCORED = ("metrics.csv", "items.parquet")
# table of a study -> the files that it is joined from, and their columns
JOINED = {
    "directions": (DIRECTIONS, updates.COLUMNS),
    "gradients": (GRADIENT_PROBES, gradients.COLUMNS),
    "spectra": (SPECTRA, spectra.COLUMNS),
}


def collect(study: str, *, available: bool = False) -> None:
    """The tidy tables of a study. With `available`, cells without results are rows that say so.

    What the study takes from a release is joined from the release's tables.
    """
    found = Study.load(study)
    cells = found.scored_cells("test")
    done = [cell for cell in cells if present(cell, available=available)]
    inputs = _inputs(found, cells, done, available=available)
    scores = scores_of(found, done, read_scores(cells, "test"))
    tables = Path(TABLES.format(study=study))
    whole = whole_scores(scores)
    of_runs = {
        "runs": pd.DataFrame([run_row(found, cell, whole) for cell in cells]),
        "scores": scores,
        "losses": losses(done),
        "origins": origins(cells),
    }
    for name, own in of_runs.items():
        write_csv(tables / f"{name}.csv", with_released(found, name, own, inputs))
    write_csv(tables / "data.csv", data_rows(found.cells))
    for name, (pattern, columns) in JOINED.items():
        paths = dict.fromkeys(cell.path(pattern) for cell in cells)
        parts = [path for path in paths if path.exists() or not available]
        join_csv(parts, columns, tables / f"{name}.csv")
    items = join_items([folder / "test.items.parquet" for folder in score_folders(cells)])
    items = with_released(found, "items", of_cells(done, items), inputs)
    with atomic(tables / "items.parquet") as partial:
        items.to_parquet(partial, index=False)
    names = *(f"{name}.csv" for name in (*of_runs, "data", *JOINED)), "items.parquet"
    write_record(tables / "collect.record.json", (tables / name for name in names), inputs)


def join_items(paths: list[Path]) -> pd.DataFrame:
    """The items of several tasks in one table."""
    # tables written before there were sets and two verdicts lack their columns
    known = [name for name in ITEM_COLUMNS if name not in ("set", *VERDICTS)]
    tables = [read_parquet(path, known) for path in paths]
    items = pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=known)
    # and have numbers in the place of text
    text = {"prediction": "string", "label": "string"}
    columns = [*ITEM_COLUMNS, *(name for name in BY_LIKELIHOOD if name in items)]
    return items.reindex(columns=columns).fillna({"set": WHOLE}).astype(text)


def _inputs(study: Study, cells: list[Cell], done: list[Cell], *, available: bool) -> Inputs:
    """All files that are read, each once."""
    paths = [
        *(cell.path(DATA) / "manifest.json" for cell in study.cells),
        *(folder / f"test.{name}" for folder in score_folders(cells) for name in SCORED),
        *(
            path
            for cell in done
            for path in (
                *(cell.folder / name for name in ("train.jsonl", *ORIGIN)),
                *cost_files(study, cell),
            )
        ),
        *(cell.path(pattern) for cell in cells for pattern, _ in JOINED.values()),
    ]
    inputs = Inputs()
    for path in dict.fromkeys(paths):
        if path.exists() or not available:
            inputs.file(path)
    return inputs
