"""Rule `select_lr`."""

from __future__ import annotations

from pathlib import Path

from lorasb.files import atomic, write_csv
from lorasb.study.paths import TABLES
from lorasb.study.study import Study
from lorasb.tidy.sweep import select_rates, sweep_rows, with_settings
from lorasb.tidy.tables import present, read_scores


def select_lr(study: str, *, available: bool = False) -> None:
    """The sweep's scores, and the learning rates they choose.

    With `available`, a rate at which a cell has no result cannot be chosen.
    """
    found = Study.load(study)
    for cell in found.sweep_cells:
        present(cell, available=available)
    sweep = sweep_rows(found, read_scores(found.sweep_cells, "selection"))
    tables = Path(TABLES.format(study=study))
    write_csv(tables / "sweep.csv", sweep)
    with atomic(tables / "selected_lr.tsv") as partial:
        selected = with_settings(select_rates(sweep), found)
        selected.to_csv(partial, sep="\t", index=False, float_format="%.4f")
