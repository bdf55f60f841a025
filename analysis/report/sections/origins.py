"""Where the numbers come from: code, versions and machine, each different answer once."""

from __future__ import annotations

import json

import pandas as pd

COLUMNS = {
    "commit": "Commit",
    "uncommitted_changes": "Uncommitted changes",
    "python": "Python",
    "packages": "Packages",
    "system": "System",
    "processor": "Processor",
    "device": "Device",
    "threads": "Threads",
}


def origins(table: pd.DataFrame) -> list[dict[str, str]]:
    """Each different origin as name and text, the number of its runs first."""
    done = table.dropna(subset=["commit", "packages"], how="all").fillna("not known")
    counts = done.groupby(list(COLUMNS), sort=False).size().reset_index(name="runs")
    return [
        {"Runs": str(row["runs"])}
        | {name: _text(column, row[column]) for column, name in COLUMNS.items()}
        for row in counts.to_dict("records")
    ]


def _text(column: str, value: object) -> str:
    if column == "packages":
        return ", ".join(f"{name} {number}" for name, number in json.loads(str(value)).items())
    if column == "uncommitted_changes":
        return {"True": "yes", "False": "no"}.get(str(value), str(value))
    return str(value)
