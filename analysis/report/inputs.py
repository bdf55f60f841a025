"""The tidy tables that the page is made of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from analysis.tidy import read

LATER = ["low_tasks", "high_tasks", "detectable", "p_equivalent"]
LOSSES = ["model", "task", "variant", "rank", "seed", "step"]


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
        """Read the files; `paths` has a path for each table that there is."""
        columns = {"losses": LOSSES}
        found = {name: read(path, columns.get(name)) for name, path in paths.items()}
        paired, items = found.pop("paired"), found.pop("per_item")
        return cls(
            paired=_with(paired, {"set": ""} | dict.fromkeys(LATER, np.nan)).fillna({"set": ""}),
            per_item=_with(items, {"set": ""}),
            **found,
        )


def _with(table: pd.DataFrame, later: Mapping[str, Any]) -> pd.DataFrame:
    """The table with the columns that an older release lacks."""
    return table.assign(**{name: value for name, value in later.items() if name not in table})
