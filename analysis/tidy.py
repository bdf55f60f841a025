"""Reading the tidy tables of a study."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd

POINT = ["model", "task", "variant", "rank"]  # what a score belongs to, over seeds


def read(path: str | Path, columns: list[str] | None = None) -> pd.DataFrame:
    """Read a `.csv`, `.tsv` or `.parquet` table, all columns or some.

    Learning rates are read as text, since their spelling names the run; evaluation sets too, where
    an empty column would be one of numbers.

    Raises
    ------
    ValueError
        If one of `columns` is not in the table.
    """
    path = Path(path)
    if path.suffix == ".parquet":
        return pd.read_parquet(path, columns=columns)
    separator = "\t" if path.suffix == ".tsv" else ","
    return pd.read_csv(path, sep=separator, usecols=columns, dtype={"lr": str, "set": str})


def rows(table: pd.DataFrame) -> Iterator[Any]:
    """Each row as a named tuple."""
    return iter(table.itertuples(index=False))


def groups(table: pd.DataFrame, keys: str | list[str]) -> Iterator[tuple[Any, pd.DataFrame]]:
    """The values of the keys and the rows of each group, in order of appearance."""
    return iter(table.groupby(keys, sort=False))


def succeeded(runs: pd.DataFrame) -> pd.DataFrame:
    """The cells that have a score."""
    return runs[runs["status"] == "ok"]
