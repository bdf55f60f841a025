"""The tidy tables that the page is made of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path

import pandas as pd

from analysis.tidy import read

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

    @classmethod
    def names(cls) -> list[str]:
        """All tables that there may be."""
        return [table.name for table in fields(cls)]

    @classmethod
    def read(cls, paths: Mapping[str, Path]) -> Tables:
        """Read the files; `paths` has a path for each table that there is."""
        columns = {"losses": LOSSES}
        found = {name: read(path, columns.get(name)) for name, path in paths.items()}
        paired, items = found.pop("paired"), found.pop("per_item")
        # releases of before there were sets
        without = {"set": ""}
        return cls(
            paired=paired.assign(**({} if "set" in paired else without)).fillna(without),
            per_item=items.assign(**({} if "set" in items else without)),
            **found,
        )
