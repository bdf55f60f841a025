"""The tidy tables that the page is made of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from analysis.report.sections import origins
from analysis.tables import accuracy, claims, costs, prepared_data
from analysis.tables.learning_rates import RATES
from analysis.tables.paired_differences import ITEMS
from analysis.tidy import POINT, read

LATER = ["low_tasks", "high_tasks", "detectable", "p_equivalent"]
CELL = [*POINT, "seed"]
PAIRED = [
    *("model", "task", "variant_a", "rank_a", "variant_b", "rank_b", "difference", "low", "high"),
    *("p_value", "p_holm", "items", "seeds", "verdict"),
]
COUNTS = [
    *("model", "label", "variant", "rank", "base_parameters", "base_bytes", "trainable_parameters"),
    *("stored_bytes", "shared_bytes", "optimizer_state_bytes"),
]
NEEDS = {
    "runs": [*accuracy.RUNS, *costs.RUNS, "lr"],
    "per_item": ITEMS,
    "losses": [*CELL, "step"],
    "paired": PAIRED,
    "claims": claims.COLUMNS,
    "data": prepared_data.DATA,
    "counts": COUNTS,
    "origins": [*CELL, "folder", "cell_hash", "predictions_sha256", *origins.COLUMNS],
    "rates": RATES,
    "sweep": [*POINT, "lr", "metric", "score"],
}


@dataclass(frozen=True)
class Tables:
    """Tables by the names of their files; None where a study, or an older release, has none."""

    runs: pd.DataFrame
    per_item: pd.DataFrame
    losses: pd.DataFrame
    paired: pd.DataFrame
    claims: pd.DataFrame | None = None
    data: pd.DataFrame | None = None
    counts: pd.DataFrame | None = None
    origins: pd.DataFrame | None = None
    rates: pd.DataFrame | None = None
    sweep: pd.DataFrame | None = None
    others: pd.DataFrame | None = None

    @classmethod
    def names(cls) -> list[str]:
        """All tables that the study may have; `others` are not its own."""
        return [table.name for table in fields(cls) if table.name != "others"]

    @classmethod
    def read(cls, paths: Mapping[str, Path]) -> Tables:
        """Read the files; `paths` has a path for each table that there is.

        Raises
        ------
        TableError
            If one is missing, damaged, or lacks a column of `NEEDS`.
        """
        # losses have a row a step: the rest of them is not held
        columns = {"losses": NEEDS["losses"]}
        found = {
            name: read(path, columns.get(name), needs=NEEDS[name]) for name, path in paths.items()
        }
        paired, items = found.pop("paired"), found.pop("per_item")
        return cls(
            paired=_with(paired, {"set": ""} | dict.fromkeys(LATER, np.nan)).fillna({"set": ""}),
            per_item=_with(items, {"set": ""}),
            **found,
        )


def _with(table: pd.DataFrame, later: Mapping[str, Any]) -> pd.DataFrame:
    """The table with the columns that an older release lacks."""
    return table.assign(**{name: value for name, value in later.items() if name not in table})
