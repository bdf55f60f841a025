"""Reading the tidy tables of a study."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd

POINT = ["model", "task", "variant", "rank"]  # what a score belongs to, over seeds
MEAN = "mean"  # stands for a task: the mean over all tasks


class TableError(SystemExit):
    """A table that cannot be read or written: one line that says which, why, and what helps.

    A script that it leaves ends with that line and status 1, without a traceback.
    """


def read(
    path: str | Path,
    columns: Sequence[str] | None = None,
    *,
    needs: Sequence[str] = (),
    text: bool = False,
) -> pd.DataFrame:
    """Read a `.csv`, `.tsv` or `.parquet` table, all columns or some, at least those it `needs`.

    Learning rates are read as text, since their spelling names the run; evaluation sets too, where
    an empty column would be one of numbers. With `text` everything is, as it is written.

    Raises
    ------
    TableError
        If the file is missing, empty, cut short, no such table, or lacks a column.
    """
    options: dict[str, Any] = {"dtype": {"lr": str, "set": str}}
    if text:
        options = {"dtype": str, "keep_default_na": False}
    wanted = {*needs, *(columns or ())}
    if columns is not None:  # of a large table half of the time may go to others
        options["usecols"] = wanted.__contains__
    table = _table(Path(path), options)
    missing = [name for name in (*needs, *(columns or ())) if name not in table]
    if missing:
        raise TableError(f"{path}: another table than it should be, no column {missing[0]!r}")
    return table if columns is None else table[[name for name in table if name in columns]]


def predicted(items: pd.DataFrame) -> pd.DataFrame:
    """The items that were predicted; others have the likelihood of their right answer alone.

    With an empty `set` where older releases lack that column.
    """
    found = items.dropna(subset=["label"])
    return found if "set" in found else found.assign(set="")


def _table(path: Path, options: dict[str, Any]) -> pd.DataFrame:
    again = "remove it and run the rule that makes it"
    try:
        content = path.read_bytes()  # the system's word on a file that cannot be opened
        if path.suffix == ".parquet":
            return pd.read_parquet(path)
        if path.suffix == ".tsv":  # people edit these
            return pd.read_csv(path, sep="\t", **options)
        if not content.endswith(b"\n"):
            raise TableError(f"{path}: empty or cut short; {again}")
        return pd.read_csv(path, **options)
    except (OSError, ValueError) as error:  # of the system, pyarrow and pandas
        reason = getattr(error, "strerror", None) or " ".join(str(error).split())
        raise TableError(f"{path}: cannot be read ({reason}); {again}") from error


@contextmanager
def writing(path: str | Path) -> Iterator[None]:
    """Name `path` where the system refuses what the block writes to it.

    Raises
    ------
    TableError
        With the system's reason.
    """
    try:
        yield
    except OSError as error:
        raise TableError(f"{path}: cannot be written ({error.strerror or error})") from error


def rows(table: pd.DataFrame) -> Iterator[Any]:
    """Each row as a named tuple."""
    return iter(table.itertuples(index=False))


def groups(table: pd.DataFrame, keys: str | list[str]) -> Iterator[tuple[Any, pd.DataFrame]]:
    """The values of the keys and the rows of each group, in order of appearance."""
    return iter(table.groupby(keys, sort=False))


def succeeded(runs: pd.DataFrame) -> pd.DataFrame:
    """The cells that have a score."""
    return runs[runs["status"] == "ok"]
