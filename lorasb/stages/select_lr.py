"""Rule `select_lr`."""

from __future__ import annotations

from pathlib import Path

from lorasb.files import atomic, write_csv
from lorasb.records import Inputs, write_record
from lorasb.study.paths import TABLES
from lorasb.study.study import Study
from lorasb.tidy.sweep import select_rates, sweep_rows, with_settings
from lorasb.tidy.tables import present, read_scores, score_folders


def select_lr(study: str, *, available: bool = False) -> None:
    """The sweep's scores, and the learning rates they choose.

    With `available`, a rate at which a cell has no result cannot be chosen.
    """
    found = Study.load(study)
    cells, inputs = found.sweep_cells, Inputs()
    done = [cell for cell in cells if present(cell, available=available)]
    for folder in score_folders(cells):
        inputs.file(folder / "selection.metrics.csv")
    sweep = sweep_rows(found, read_scores(found, cells, "selection", done))
    tables = Path(TABLES.format(study=study))
    write_csv(tables / "sweep.csv", sweep)
    with atomic(tables / "selected_lr.tsv") as partial:
        selected = with_settings(select_rates(sweep), found)
        selected.to_csv(partial, sep="\t", index=False, float_format="%.4f")
    files = tables / "sweep.csv", tables / "selected_lr.tsv"
    write_record(tables / "select_lr.record.json", files, inputs)
