"""Rows of a task, from the hub, from files or generated, checked before anything uses them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import datasets.config
import huggingface_hub.constants
import torch
from datasets import Dataset, load_dataset
from datasets.exceptions import DatasetGenerationError

from lorasb.errors import UserError, one_line
from lorasb.hub import cached_without_network, not_cached
from lorasb.seeding import generator
from lorasb.tasks.downloads import load_file, used_files
from lorasb.tasks.task import FilesSource, GeneratedSource, HubSource, Row, Source, Task
from lorasb.tasks.values import check_values

COMMIT = re.compile("[0-9a-f]{40}")
# who takes rows first: a change of the training rows leaves the other two as they are
TAKING_ORDER = ("test", "selection", "train")


def load_rows(task: Task, split: str, seed: int) -> list[Row]:
    """The rows of one split: the task's columns and `item`, the row's number at its source.

    Rows that `lorasb.tasks.values.left_out` names are among them. Splits cut from one split of the
    source are disjoint, drawn with `seed`, and keep its order.

    Raises
    ------
    UserError
        If the source is out of reach, too small, or lacks a column; as
        `lorasb.tasks.values.check_values`.
    """
    where = f"task {task.name}, split {split}"
    spec = task.splits[split]
    if spec.rows == 0:
        return []
    if isinstance(task.source, GeneratedSource):
        # imported here: the hub's tasks do not need the generators
        from lorasb.bundled.families import split_rows

        rows = split_rows(task.source.family, split, spec.rows or 0, seed)
        items = list(range(len(rows)))
        _check_columns(task, list(rows[0]), where)
    else:
        whole = _load(task.source, str(spec.origin))
        _check_columns(task, whole.column_names, where)
        items = _share(task, split, len(whole), seed)
        rows = whole.select_columns(task.columns).select(items).to_list()
    rows = [{"item": item, **row} for item, row in zip(items, rows, strict=True)]
    check_values(task, rows, where)
    return rows


def check_apart(task: Task) -> None:
    """Refuse a file that is trained on and also read for another split, by whatever path.

    Splits that name one file of the source are cut from it and share no row.

    Raises
    ------
    UserError
        If two names stand for the same content; it has both.
    """
    trained = (task.source, task.splits["train"].origin)
    content = _content(*trained)
    others = {f"splits.{name}": (task.source, own.origin) for name, own in task.splits.items()}
    others |= {
        f"splits.test.sets.{name}": (one.source, one.splits["test"].origin)
        for name, one in task.sets.items()
    }
    for key, (source, name) in others.items():
        if content and (source, name) != trained and _content(source, name) == content:
            raise UserError(
                f"task {task.name}: {key}.from: the file '{name}' has the content of "
                f"'{trained[1]}', which is trained on; name another file, or '{trained[1]}' with a "
                "number of rows to cut from it"
            )


def _content(source: Source, name: str | None) -> str | None:
    """The checksum of a file; None of rows that are not in a file of the source."""
    if not isinstance(source, FilesSource):
        return None
    (used,) = used_files(source, {str(name)}).values()
    return used["sha256"]


def describe(task: Task) -> dict[str, Any]:
    """Where the rows come from, for the manifest.

    `commit` is what the hub's cache really holds; files have the checksum of what was read.
    """
    if isinstance(task.source, GeneratedSource):
        return {"loader": "generated", "family": task.source.family}
    origins = {str(spec.origin) for spec in task.splits.values()}
    if isinstance(task.source, FilesSource):
        used = used_files(task.source, origins)
        return {"loader": "files", **vars(task.source), "files": used}
    found = _load_hub(task.source, str(next(iter(task.splits.values())).origin))
    named = {key: value for key, value in vars(task.source).items() if key != "rows"}
    return {"loader": "hub", **named, "commit": _commit(found)}


def _load(source: HubSource | FilesSource, split: str) -> Dataset:
    return load_file(source, split) if isinstance(source, FilesSource) else _load_hub(source, split)


@cache
def _load_hub(source: HubSource, split: str) -> Dataset:
    with _one_line_errors(source), cached_without_network():
        # it was read when the library was imported
        datasets.config.HF_HUB_OFFLINE |= huggingface_hub.constants.HF_HUB_OFFLINE
        found = load_dataset(source.path, source.name, revision=source.revision, split=split)
    known = dict(source.rows).get(split, len(found))
    if len(found) != known:
        raise UserError(
            f"{source.path}, {source.name}: {len(found)} rows of '{split}', not {known}; "
            "correct source.rows of the task, or delete an incomplete copy from the cache"
        )
    # without a network, datasets takes whatever revision the cache holds
    wanted, commit = source.revision or "", _commit(found)
    if COMMIT.fullmatch(wanted) and commit is not None and commit != wanted:
        raise UserError(
            f"{source.path}: the cache holds commit {commit}, not {wanted}; "
            "run once with a network, or set source.revision to the one that is there"
        )
    return found


def _commit(rows: Dataset) -> str | None:
    """The hub commit in the path of the cached files, where there is one."""
    folders = {Path(file["filename"]).parent.name for file in rows.cache_files}
    return next(filter(COMMIT.fullmatch, sorted(folders)), None)


def _share(task: Task, split: str, available: int, seed: int) -> list[int]:
    """Row numbers of `split` among the splits that come from the same split of the source."""
    origin = task.splits[split].origin
    sharing = [
        name for name in TAKING_ORDER if name in task.splits and task.splits[name].origin == origin
    ]
    sharing.sort(key=lambda name: task.splits[name].rows is None)
    asked = sum(1 if rows is None else rows for rows in (task.splits[n].rows for n in sharing))
    if asked > available:
        raise UserError(
            f"task {task.name}: the splits {', '.join(sharing)} need {asked} rows of '{origin}', "
            f"which has {available}"
        )
    random = generator(seed, f"splits/{task.name}/{origin}")
    left = torch.randperm(available, generator=random).tolist()
    # those that take the first rows come before those that draw
    sharing.sort(key=lambda name: not task.splits[name].first)
    for name in sharing:
        spec = task.splits[name]
        order = sorted(left) if spec.first else left
        taken = order if spec.rows is None else order[: spec.rows]
        if name == split:
            break
        gone = set(taken)
        left = [row for row in left if row not in gone]
    return sorted(taken)


def _check_columns(task: Task, found: list[str], where: str) -> None:
    missing = [name for name in task.columns if name not in found]
    if missing:
        raise UserError(
            f"{where}: no column {', '.join(map(repr, missing))}; "
            f"the data set has: {', '.join(found)}"
        )


@contextmanager
def _one_line_errors(source: HubSource) -> Iterator[None]:
    """Turn what datasets raises for a source out of reach, damaged or foreign into a UserError."""
    label = f"{source.path}, {source.name}" if source.name else source.path
    try:
        yield
    except ConnectionError as error:
        raise not_cached(f"data set {label}") from error
    except Exception as error:  # files that its code does not expect raise anything there
        if isinstance(error, OSError) and error.errno is not None:  # of the system, with a name
            raise
        cause = error.__cause__ if isinstance(error, DatasetGenerationError) else error
        what = one_line(cause) or type(cause).__name__
        raise UserError(f"data set {label}: {what}") from error
