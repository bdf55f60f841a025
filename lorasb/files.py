"""Writing files and folders so that a killed process never leaves half of one."""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError

from lorasb.errors import UserError

if TYPE_CHECKING:
    import pandas as pd
    import torch

AGAIN = "delete it and run again"


@contextmanager
def atomic(path: Path | str) -> Iterator[Path]:
    """Yield a temporary path beside `path`; move it to `path` only if the block succeeds.

    Raises
    ------
    OSError
        If the disk is full or `path` cannot be written; it names `path`.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    with _naming(path, partial):
        try:
            yield partial
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)


def refuse_filled(folder: Path, option: str) -> None:
    """Refuse a folder to write to that is there and not empty, which would be replaced.

    Raises
    ------
    UserError
        If it is; `option` names it.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(
            f"--{option} {folder}: there is something already; name a folder that is new or empty"
        )


@contextmanager
def atomic_folder(path: Path | str) -> Iterator[Path]:
    """Yield an empty folder beside `path`; it takes the place of `path` if the block succeeds.

    Nothing of an earlier folder `path` stays then; otherwise it stays as it was.

    Raises
    ------
    OSError
        If the disk is full or a file cannot be written; it names the file or `path`.
    """
    path = Path(path)
    partial, old = (path.with_name(f".{path.name}.{end}") for end in ("partial", "old"))

    def settle() -> None:
        """The old folder comes back if nothing took its place; the rest goes."""
        if old.exists() and not path.exists():
            old.rename(path)
        for folder in (partial, old):
            shutil.rmtree(folder, ignore_errors=True)

    settle()  # what a killed call left
    partial.mkdir(parents=True)
    try:
        with _naming(path, partial):
            yield partial
            if path.exists():
                path.rename(old)
            partial.rename(path)
    finally:
        settle()


@contextmanager
def locked(path: Path) -> Iterator[bool]:
    """Hold the lock file `path`; where another process holds it, say so on stderr and wait.

    Yields whether it had to wait: what the block is to do may then be done. The system drops the
    lock of a process that ends, however it ends; the file stays.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as lock:
        waited = False
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            waited = True
            sys.stderr.write(f"{path.parent}: another process is at it; waiting\n")
            sys.stderr.flush()
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield waited


@contextmanager
def _naming(path: Path, partial: Path) -> Iterator[None]:
    """Let errors of writing to `partial` be OSErrors that name `path`."""
    try:
        yield
    except OSError as error:
        # a write to an open file names none
        if error.errno and error.filename in (None, str(partial), partial):
            raise OSError(error.errno, os.strerror(error.errno), str(path)) from error
        raise
    except SafetensorError as error:
        found = re.search(r"os error ([0-9]+)", str(error))
        if found is None:
            raise
        number = int(found[1])
        raise OSError(number, os.strerror(number), str(path)) from error


def write_json(path: Path | str, data: Any) -> None:
    """Write `data` as JSON with sorted keys; the same data give the same bytes."""
    with atomic(path) as partial:
        partial.write_text(json.dumps(data, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def write_jsonl(path: Path | str, rows: Iterable[dict[str, Any]]) -> None:
    """Write one JSON object a line."""
    with atomic(path) as partial, partial.open("w", encoding="utf-8") as file:
        for row in rows:
            file.write(json.dumps(row, sort_keys=True, ensure_ascii=False) + "\n")


def write_csv(path: Path | str, table: pd.DataFrame, **layout: Any) -> None:
    """Write a table as CSV, without its index; `layout` is of pandas' `to_csv`."""
    with atomic(path) as partial:
        table.to_csv(partial, index=False, **layout)


def read_json(path: Path | str, advice: str = AGAIN) -> Any:
    """Read a JSON file; `advice` is what to do with a damaged one.

    Raises
    ------
    UserError
        If the file is missing or is not JSON.
    """
    try:
        return json.loads(_read_text(path, advice))
    except json.JSONDecodeError as error:
        raise UserError(f"{path}: not valid JSON ({error}); {advice}") from error


def read_record(path: Path | str, *keys: str) -> dict[str, Any]:
    """Read a JSON object that has these keys.

    Raises
    ------
    UserError
        If the file is missing, is not JSON, or is another object.
    """
    found = read_json(path)
    if not isinstance(found, dict) or not found.keys() >= set(keys):
        raise UserError(f"{path}: not an object with {', '.join(map(repr, keys))}; {AGAIN}")
    return found


def read_jsonl(path: Path | str, advice: str = AGAIN) -> list[dict[str, Any]]:
    """Read one JSON object a line; `advice` is what to do with a damaged file.

    Raises
    ------
    UserError
        If the file is missing or a line is no JSON object; the message has the line's number.
    """
    rows = []
    # not splitlines(): a generated answer may hold other line separators, such as U+2028
    lines = _read_text(path, advice).removesuffix("\n").split("\n")
    for number, line in enumerate(lines if lines != [""] else [], start=1):
        try:
            row = json.loads(line)
        except json.JSONDecodeError:
            row = None
        if not isinstance(row, dict):
            raise UserError(f"{path}, line {number}: no JSON object; {advice}")
        rows.append(row)
    return rows


def load_tensors(path: Path | str) -> dict[str, torch.Tensor]:
    """Read a safetensors file.

    Raises
    ------
    UserError
        If the file is missing or cut short.
    """
    from safetensors.torch import load_file

    check_readable(path)
    try:
        return load_file(path)
    except SafetensorError as error:
        raise UserError(f"{path}: cut short or damaged ({error}); {AGAIN}") from error


def check_readable(path: Path | str, rule: str = "that makes it") -> None:
    """Let the system say why a file cannot be opened: libraries say something else, or nothing.

    Raises
    ------
    UserError
        If the file is missing.
    OSError
        If it is a folder, or may not be read.
    """
    try:
        with Path(path).open("rb"):
            pass
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such file; run the rule {rule}") from error


def _read_text(path: Path | str, advice: str = AGAIN) -> str:
    check_readable(path)
    try:
        return Path(path).read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not UTF-8 at byte {error.start}; {advice}") from error
