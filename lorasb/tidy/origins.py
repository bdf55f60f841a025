"""Where each cell's number comes from: its folder, settings, code, machine, and its predictions."""

from __future__ import annotations

import json
from typing import Any

import pandas as pd

from lorasb.files import read_json
from lorasb.records import sha256
from lorasb.study.cells import COLUMNS, Cell

PROVENANCE = [
    *("cell_hash", "commit", "uncommitted_changes", "python", "packages"),
    *("system", "processor", "device", "threads"),
]
ORIGIN_COLUMNS = [*COLUMNS, "folder", "predictions_sha256", *PROVENANCE, "config"]


def origins(cells: list[Cell]) -> pd.DataFrame:
    """One row a cell. A cell without results has its folder and nothing else.

    `config` holds all resolved settings and `packages` the versions, both as JSON with sorted keys.
    """
    return pd.DataFrame([_origin(cell) for cell in cells], columns=ORIGIN_COLUMNS)


def _origin(cell: Cell) -> dict[str, Any]:
    row: dict[str, Any] = {**cell.columns, "folder": cell.folder.as_posix()}
    if not (cell.folder / "predictions.jsonl").exists():
        return row
    facts = read_json(cell.folder / "provenance.json")
    return row | {
        **{name: facts.get(name) for name in PROVENANCE},
        "packages": json.dumps(facts["packages"], sort_keys=True),
        "predictions_sha256": sha256(cell.folder / "predictions.jsonl"),
        "config": json.dumps(read_json(cell.folder / "config.json"), sort_keys=True),
    }
