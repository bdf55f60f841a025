"""Reading tables that stages wrote."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa

from lorasb.errors import UserError, one_line, remake
from lorasb.files import AGAIN, atomic, check_readable
from lorasb.study.paths import RELEASED, TABLES


def read_csv(
    path: Path, columns: Sequence[str] = (), *, text: Sequence[str] = ("lr", "set")
) -> pd.DataFrame:
    """Read a table that `lorasb.files.write_csv` wrote and that has at least these columns.

    Those named in `text` are not made numbers: the spelling of a learning rate names the run, and
    a column of evaluation sets may be empty.

    Raises
    ------
    UserError
        If the file is missing, empty, cut short, no table, or lacks a column.
    """
    return _with_columns(_table(path, dtype=dict.fromkeys(text, str)), path, columns)


def join_csv(paths: Sequence[Path], columns: Sequence[str], to: Path) -> None:
    """Write tables of the same columns as one, with every number as it is spelt.

    Without a table it has these `columns` and no row. A million rows take a second, and a minute
    where numbers are read and written.

    Raises
    ------
    UserError
        If one is missing, empty, cut short, no table, lacks a column, or has others than the first.
    """
    heads = {path: list(_with_columns(_table(path, nrows=0), path, columns)) for path in paths}
    for path, head in heads.items():
        if head != heads[paths[0]]:
            raise UserError(f"{path}: other columns than {paths[0]}; {remake(path)}")
    with atomic(to) as partial, partial.open("wb") as joined:
        if not paths:
            joined.write(f"{','.join(columns)}\n".encode())
        for path in paths:
            with path.open("rb") as part:
                first_line = part.readline()
                joined.write(first_line if path == paths[0] else b"")
                shutil.copyfileobj(part, joined)


def read_parquet(path: Path, columns: Sequence[str] = ()) -> pd.DataFrame:
    """Read a parquet table that has at least these columns.

    Raises
    ------
    UserError
        If the file is missing, empty, cut short, no table, or lacks a column.
    """
    check_readable(path)
    try:
        table = pd.read_parquet(path)
    except (pa.ArrowException, OSError) as error:
        raise UserError(f"{path}: no complete parquet file ({one_line(error)}); {AGAIN}") from error
    return _with_columns(table, path, columns)


def read_table(folder: Path, name: str, columns: Sequence[str] = ()) -> pd.DataFrame:
    """Read a table of a study: CSV, or the parquet that a release has where that is long.

    Raises
    ------
    UserError
        As `read_csv` and `read_parquet` do.
    """
    path = path_of_table(folder, name)
    return read_parquet(path, columns) if path.suffix == ".parquet" else read_csv(path, columns)


def path_of_table(folder: Path, name: str) -> Path:
    """Where a table of a study lies in a folder; that of its CSV if there is neither."""
    parquet = folder / f"{name}.parquet"
    return parquet if parquet.exists() else folder / f"{name}.csv"


def tables_of(study: str) -> Path:
    """The folder of a study's tables: of its runs here, else of its release.

    Raises
    ------
    UserError
        If there is neither.
    """
    folders = [Path(pattern.format(study=study)) for pattern in (TABLES, RELEASED)]
    found = next((folder for folder in folders if path_of_table(folder, "runs").exists()), None)
    if found is None:
        raise UserError(
            f"{folders[0]}: no tables, and none released; run "
            f"`snakemake --cores all --config study={study}` first"
        )
    return found


def _table(path: Path, **options: Any) -> pd.DataFrame:
    check_readable(path)
    with path.open("rb") as file:
        file.seek(-min(1, path.stat().st_size), os.SEEK_END)
        if file.read() != b"\n":
            raise UserError(f"{path}: empty or cut short; {AGAIN}")
    try:
        return pd.read_csv(path, **options)
    except ValueError as error:  # pandas' errors of reading are of this kind
        raise UserError(f"{path}: no table ({one_line(error)}); {AGAIN}") from error


def _with_columns(table: pd.DataFrame, path: Path, columns: Sequence[str]) -> pd.DataFrame:
    missing = [name for name in columns if name not in table]
    if missing:
        raise UserError(
            f"{path}: another table than it should be, it has no column {missing[0]!r}; {AGAIN}"
        )
    return table
