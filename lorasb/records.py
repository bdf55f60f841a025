"""Records: what a stage wrote and what that was made from, as hashes beside its files.

A stage reads through `Inputs` and ends with `write_record`. A file that changed since, lies in
another's place, or was made from something that has changed is refused before a number comes of it.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from lorasb.errors import UserError, remake
from lorasb.files import locked, read_json, write_json

ENDING = "record.json"  # of the name of every record
KEYS = {"path", "files", "inputs", "self"}

Record = dict[str, Any]
Facts = dict[str, Any]  # bytes, sha256


class Inputs:
    """All that a stage reads; no two of its parts were made from different versions of a third."""

    def __init__(self) -> None:
        # what was read, and all that was made from -> sha256
        self.hashes: dict[str, str] = {}
        self._told_by: dict[str, str] = {}

    def file(self, path: Path | str) -> Path:
        """`path`, once the file, or each file of the folder, is known to be as it was written.

        Raises
        ------
        UserError
            If it is missing, has no record, is not what the record says, or was made from
            something that has changed; names the command that makes it again.
        """
        path = Path(path)
        record = _record_of(path)
        written = _files_of(record, path)
        for file, facts in written.items():
            _compare(path, file, facts)
        for name, digest in record["inputs"].items():
            self._note(name, digest, _relative(path))
        digests = sorted(facts["sha256"] for facts in written.values())
        self.note(_relative(path), digests[0] if path.is_file() else _hash(digests))
        return path

    def note(self, name: str, digest: str) -> None:
        """Something that no stage wrote, such as a base model, with its hash."""
        self._note(name, digest, name)

    @property
    def digest(self) -> str:
        """Changes when anything that was read does."""
        return _hash(self.hashes)

    def _note(self, name: str, digest: str, by: str) -> None:
        other = self._told_by.setdefault(name, by)
        if self.hashes.setdefault(name, digest) != digest:
            _refuse_mixture(name, by, other)


def write_record(path: Path | str, files: Iterable[Path | str], inputs: Inputs) -> None:
    """Write the record of these files, and of all in these folders, which lie beside `path`."""
    path = Path(path)
    facts = as_written(path.parent, files)
    record = {"path": _relative(path), "files": facts, "inputs": inputs.hashes}
    write_json(path, record | {"self": _hash(record)})


def check_folder(folder: Path) -> None:
    """Refuse a folder in which a file that a record is of is not as it was written."""
    for path in sorted(folder.glob(f"*{ENDING}")):
        for name in _read(path)["files"]:
            Inputs().file(folder / name)


@contextmanager
def alone(*records: Path) -> Iterator[Callable[[Inputs], bool]]:
    """Hold the lock of a stage, whose records lie in one folder, so that no other is at it.

    Yields what says, once all inputs are noted, whether a process that it had to wait for has made
    the same from them. A process left over from a killed workflow may be one.
    """
    with locked(records[0].parent / ".lock") as waited:
        yield lambda inputs: waited and all(_is_made(path, inputs) for path in records)


def as_written(folder: Path, files: Iterable[Path | str]) -> dict[str, Facts]:
    """Size and hash of these files and of all in these folders, by their names in `folder`."""
    return {
        file.relative_to(folder).as_posix(): _facts(file)
        for given in files
        for file in _walk(Path(given))
    }


def first_damaged(folder: Path, written: dict[str, Facts]) -> str | None:
    """The first file of what `as_written` said that is not so any more."""
    found = (name for name, facts in written.items() if not _is_written(folder / name, facts))
    return next(found, None)


def sha256(path: Path) -> str:
    """The hash of a file's bytes, taken once in a process as long as the file is not written."""
    facts = path.stat()
    return _sha256(path.absolute(), facts.st_size, facts.st_mtime_ns)


@cache
def _sha256(path: Path, size: int, changed: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _is_made(path: Path, inputs: Inputs) -> bool:
    """Whether what a record tells of is there, made from these inputs and perhaps others."""
    if not path.exists():
        return False
    record = _read(path)
    same = inputs.hashes.items() <= record["inputs"].items()
    return same and first_damaged(path.parent, record["files"]) is None


def _is_written(path: Path, facts: Facts) -> bool:
    return path.is_file() and _facts(path) == facts


def _facts(path: Path) -> Facts:
    return {"bytes": path.stat().st_size, "sha256": sha256(path)}


def _walk(path: Path) -> Iterator[Path]:
    if path.is_file():
        yield path
    yield from (file for file in sorted(path.rglob("*")) if file.is_file())


def _record_of(path: Path) -> Record:
    """The record beside a file or folder that has it."""
    if not path.exists():
        raise UserError(f"{path}: no such file; {remake(path)}")
    for candidate in sorted(path.parent.glob(f"*{ENDING}")):
        record = _read(candidate)
        if _files_of(record, path):
            if record["path"] != _relative(candidate):
                raise UserError(
                    f"{path}: it and {candidate} were written as those of {record['path']}; "
                    f"{remake(path)}"
                )
            return record
    raise UserError(
        f"{path}: no record of how it was written, as earlier versions left none; {remake(path)}"
    )


def _read(path: Path) -> Record:
    try:
        record = read_json(path)
    except UserError:
        record = None
    if (
        not isinstance(record, dict)
        or record.keys() != KEYS
        or record["self"] != _hash({key: record[key] for key in KEYS - {"self"}})
    ):
        raise UserError(f"{path}: this record is damaged; {remake(path)}")
    return record


def _files_of(record: Record, path: Path) -> dict[Path, Facts]:
    """Those of the record's files that are `path` or lie in it."""
    found = {path.parent / name: facts for name, facts in record["files"].items()}
    return {file: facts for file, facts in found.items() if file.is_relative_to(path)}


def _compare(path: Path, file: Path, facts: Facts) -> None:
    if not file.is_file():
        raise UserError(f"{file}: no such file; {remake(path)}")
    size, written = file.stat().st_size, facts["bytes"]
    if size != written:
        what = "cut short" if size < written else "changed"
        raise UserError(
            f"{file}: {what}, {size} bytes where {written} were written; {remake(path)}"
        )
    if not _is_written(file, facts):
        raise UserError(f"{file}: changed or damaged since it was written; {remake(path)}")


def _refuse_mixture(name: str, one: str, other: str) -> None:
    """Of two files made from different versions of a thing, the older is to be made again."""
    made = min((by for by in (one, other) if by != name), key=os.path.getmtime)
    than = "is there now" if name in (one, other) else other if made == one else one
    first = _first_made_from(name, Path(made))
    raise UserError(
        f"{made}: made from another version of {name} than {than}; put it back, or {remake(first)}"
    )


def _first_made_from(name: str, path: Path) -> Path:
    """The first in the chain of files from which `path` was made that was made from a thing."""
    for before in _record_of(path)["inputs"]:
        if before != name and Path(before).exists() and name in _record_of(Path(before))["inputs"]:
            return _first_made_from(name, Path(before))
    return path


def _relative(path: Path) -> str:
    return Path(os.path.relpath(path)).as_posix()


def _hash(data: Any) -> str:
    return hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()
