"""Cells that a study takes from a release in place of running them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lorasb.config.read import unknown
from lorasb.errors import UserError
from lorasb.study import hashes
from lorasb.study.cells import COLUMNS, Cell
from lorasb.study.paths import RELEASED
from lorasb.study.read import read_table

if TYPE_CHECKING:
    from lorasb.study.study import Study


def released_tables(study: Study) -> Path:
    """The tables of the release that the study takes cells from.

    Raises
    ------
    UserError
        If there is no such release.
    """
    folder = Path(RELEASED.format(study=study.released))
    if not folder.is_dir():
        there = [path.name for path in folder.parents[1].glob("*") if path.is_dir()]
        said = unknown("release", str(study.released), sorted(there))
        raise UserError(f"{study.path}: released: {said}")
    return folder


def released_cells(study: Study) -> frozenset[Cell]:
    """The study's cells that the release has, trained and scored under the same settings.

    None of a task along whose training updates are kept: a release has no updates to compare.
    """
    columns = [*COLUMNS, "cell_hash", "config"]
    rows = read_table(released_tables(study), "origins", columns)
    origins = {tuple(row[name] for name in COLUMNS): row for row in rows.to_dict("records")}
    return frozenset(
        cell
        for cell in study.cells
        if study.settings(cell.task)["probe"]["points"] == 0
        and _is_the_same(study, cell, origins.get(tuple(cell.columns.values())))
    )


def note(study: Study) -> str:
    """The line on how many of a study's cells are taken from a release; empty if it names none."""
    if study.released is None:
        return ""
    return (
        f"{len(study.released_cells)} of {len(study.cells)} cells are taken from "
        f"{released_tables(study).parent}; the others are run"
    )


def _is_the_same(study: Study, cell: Cell, origin: dict[Any, Any] | None) -> bool:
    if origin is None or origin["cell_hash"] != hashes.cell_hash(study, cell):
        return False
    scored = hashes.scoring_hash(json.loads(origin["config"])["task"])
    return scored == hashes.score_hash(study, cell.task)
