"""Copy a study's tables and figures to `results/published/`, with where they come from."""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path
from typing import Any

from lorasb.errors import UserError
from lorasb.files import read_json, write_json
from lorasb.study.cells import Cell
from lorasb.study.hashes import stale_rates
from lorasb.study.paths import FIGURES, TABLES
from lorasb.study.rates import selected_rates_path
from lorasb.study.study import Study

PUBLISHED = "results/published/{study}"
FOLDERS = (TABLES, FIGURES)


def publish(study: str, *, available: bool = False) -> None:
    """Copy the finished tables and figures of a study and write `provenance.json` beside them.

    With `available`, cells without results are counted there and left out: in the tables they are
    rows that say so.

    Raises
    ------
    UserError
        If tables or cells are missing, if cells were run from code that was not committed, or if a
        learning rate was selected under other settings than the present ones.
    """
    found = Study.load(study)
    stale = stale_rates(found)
    if stale:
        raise UserError(
            f"{selected_rates_path(study)}: selected under other settings than the present "
            f"ones ({'; '.join(stale)}); run the target 'sweep' again"
        )
    cells = found.cells
    present = [cell for cell in cells if not available or _provenance(cell).exists()]
    origins = _origins(present)
    target = Path(PUBLISHED.format(study=study))
    for folder in (Path(pattern.format(study=study)) for pattern in FOLDERS):
        if not folder.is_dir():
            raise UserError(
                f"{folder}: no such folder; run `snakemake --config study={study}` first"
            )
        shutil.copytree(folder, target / folder.name, dirs_exist_ok=True)
    facts = {"study": study, "cells_without_results": len(cells) - len(present)}
    write_json(target / "provenance.json", facts | {"origins": origins})


def _provenance(cell: Cell) -> Path:
    return cell.folder / "provenance.json"


def _origins(cells: list[Cell]) -> list[dict[str, Any]]:
    """What the cells' `provenance.json` say, each different answer once, with its cells' number."""
    found: dict[str, dict[str, Any]] = {}
    number: Counter[str] = Counter()
    for cell in cells:
        path = _provenance(cell)
        origin = {key: value for key, value in read_json(path).items() if key != "cell_hash"}
        if origin["uncommitted_changes"]:
            raise UserError(
                f"{path}: the cell was run from code that is not committed; "
                "commit, remove the cell's folder and run it again"
            )
        found[repr(origin)] = origin
        number[repr(origin)] += 1
    return [{"cells": number[key], **origin} for key, origin in found.items()]
