"""Rows from single files, on disk or downloaded once from a pinned revision."""

from __future__ import annotations

import hashlib
import shutil
from functools import cache
from http.client import HTTPException
from pathlib import Path
from urllib.request import urlopen

import datasets.config
import huggingface_hub.constants
import pyarrow as pa
import pyarrow.parquet as pq
from datasets import Dataset

from lorasb.errors import UserError, one_line
from lorasb.files import atomic, locked, read_json, read_jsonl
from lorasb.hub import OFFLINE, out_of_reach
from lorasb.tasks.task import File, FilesSource, Row

TIMEOUT = 60  # seconds without a byte
# a file of the user's own cannot be had again
ADVICE = "correct it, or delete it if it was downloaded"


@cache
def load_file(source: FilesSource, name: str) -> Dataset:
    """All rows of the file that the source calls `name`, all columns.

    `.json` is a list of objects, `.jsonl` an object a line, `.parquet` a table.

    Raises
    ------
    UserError
        If the file is out of reach, is cut short, has another checksum or number of rows than the
        task says, or cannot be read.
    """
    file = _file(source, name)
    path = locate(source, file)
    _check_sum(path, file, path)
    rows = _read(path)
    if not len(rows):
        raise UserError(f"{path}: the file has no rows")
    if file.rows is not None and len(rows) != file.rows:
        raise UserError(
            f"{path}: {len(rows)} rows, not {file.rows}; it is cut short or another version"
        )
    return rows


def checksum(path: Path) -> str:
    """The sha256 of a file, in hexadecimal."""
    with path.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def locate(source: FilesSource, file: File) -> Path:
    """Where the file lies on disk; it is downloaded first, if the source names no folder."""
    if source.folder is not None:
        path = Path(source.folder) / file.path
        if not path.is_file():
            raise UserError(f"{path}: no such file; see source.folder of the task")
        return path
    cached = Path(datasets.config.HF_DATASETS_CACHE) / "files" / str(source.revision) / file.path
    if not cached.exists():
        with locked(cached.with_name(f".{cached.name}.lock")):
            if not cached.exists():  # no other process has fetched it meanwhile
                _download(f"{source.url}/{source.revision}/{file.path}", file, cached)
    return cached


def used_files(source: FilesSource, names: set[str]) -> dict[str, dict[str, str]]:
    """Path and checksum of some of the source's files as they were read, for the manifest."""
    used = {name: _file(source, name) for name in sorted(names)}
    return {
        name: {"path": file.path, "sha256": checksum(locate(source, file))}
        for name, file in used.items()
    }


def _file(source: FilesSource, name: str) -> File:
    files = dict(source.files)
    if name not in files:
        raise UserError(f"source.files has no '{name}'; it has: {', '.join(files)}")
    return files[name]


def _download(url: str, file: File, path: Path) -> None:
    """Download to `path`, which appears only if everything came and the checksum is right."""
    if huggingface_hub.constants.HF_HUB_OFFLINE or out_of_reach(url):
        raise UserError(
            f"no network and nothing cached: {url}; run once with a network and "
            f"without {OFFLINE}=1, or set source.folder of the task to a folder that holds the file"
        )
    with atomic(path) as partial:
        try:
            with urlopen(url, timeout=TIMEOUT) as response, partial.open("wb") as opened:
                shutil.copyfileobj(response, opened)
                expected = response.headers.get("Content-Length")
        except (OSError, HTTPException) as error:
            raise UserError(f"{url}: cannot be downloaded: {error}") from error
        size = partial.stat().st_size
        if expected is not None and size != int(expected):
            raise UserError(f"{url}: {size} of {expected} bytes came; run again")
        _check_sum(partial, file, url)


def _check_sum(path: Path, file: File, label: Path | str) -> None:
    if file.sha256 is None:
        return
    found = checksum(path)
    if found != file.sha256:
        raise UserError(
            f"{label}: sha256 is {found}, not {file.sha256} as source.files says; "
            "delete the file if it is damaged, or correct the task"
        )


def _read(path: Path) -> Dataset:
    readers = {".json": _read_json, ".jsonl": _read_jsonl, ".parquet": _read_parquet}
    if path.suffix not in readers:
        raise UserError(f"{path}: neither of {', '.join(readers)}")
    try:
        return readers[path.suffix](path)
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not UTF-8 at byte {error.start}") from error
    except UnicodeEncodeError as error:
        code = f"{ord(error.object[error.start]):04x}"
        raise UserError(f"{path}: half of a character, \\u{code}, which is no text") from error
    except pa.ArrowInvalid as error:
        raise UserError(f"{path}: not a table: {one_line(error)}") from error


def _read_json(path: Path) -> Dataset:
    return _table(read_json(path, ADVICE), path)


def _read_jsonl(path: Path) -> Dataset:
    return _table(read_jsonl(path, ADVICE), path)


def _read_parquet(path: Path) -> Dataset:
    return Dataset(pq.read_table(path))


def _table(rows: object, path: Path) -> Dataset:
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise UserError(f"{path}: not a list of objects")
    columns = list(rows[0]) if rows else []
    for number, row in enumerate(rows):
        if set(row) != set(columns):
            differing = sorted(set(row) ^ set(columns))
            raise UserError(f"{path}, row {number}: {differing[0]!r} is not in all rows")
    return Dataset(pa.table({name: _column(name, rows, path) for name in columns}))


def _column(name: str, rows: list[Row], path: Path) -> pa.Array:
    try:
        return pa.array([row[name] for row in rows])
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        raise UserError(
            f"{path}: the values of {name!r} are not of one type: {one_line(error)}"
        ) from error
