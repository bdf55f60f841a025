"""Rule `select_lr`."""

from __future__ import annotations

import sys
from pathlib import Path

from lorasb.errors import UserError
from lorasb.files import write_csv
from lorasb.records import Inputs, write_record
from lorasb.study.paths import TABLES
from lorasb.study.rates import all_chosen, at_an_edge
from lorasb.study.study import Study
from lorasb.tidy.sweep import selected_table, sweep_rows, with_kept
from lorasb.tidy.tables import present, read_scores, score_folders, scores_of


def select_lr(study: str, *, available: bool = False) -> None:
    """The sweep's scores, and the learning rates they choose; prints those at an edge of a grid.

    With `available`, a rate at which a cell has no result cannot be chosen.
    """
    found = Study.load(study)
    cells, inputs = found.scored_cells("selection"), Inputs()
    if not cells:
        raise UserError(all_chosen(study))
    done = [cell for cell in cells if present(cell, available=available)]
    for folder in score_folders(cells):
        inputs.file(folder / "selection.metrics.csv")
    sweep = sweep_rows(found, scores_of(found, done, read_scores(cells, "selection")))
    selected = selected_table(sweep, found)
    tables = Path(TABLES.format(study=study))
    write_csv(tables / "sweep.csv", with_kept(found, sweep, inputs))
    write_csv(tables / "selected_lr.tsv", selected, sep="\t", float_format="%.4f")
    files = tables / "sweep.csv", tables / "selected_lr.tsv"
    write_record(tables / "select_lr.record.json", files, inputs)
    for line in at_an_edge(selected.to_dict("records")):
        sys.stdout.write(f"{tables / 'selected_lr.tsv'}: {line}\n")
