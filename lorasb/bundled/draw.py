"""Draws from sequences, and the rows of a split."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np

from lorasb.errors import UserError

SPLITS = ("train", "selection", "test")

PATIENCE = 10_000  # draws in a row that give nothing new before a split counts as exhausted

T = TypeVar("T")
Row = dict[str, Any]


def pick(rng: np.random.Generator, choices: Sequence[T]) -> T:
    """One element, each equally likely."""
    return choices[int(rng.integers(len(choices)))]


def sample(rng: np.random.Generator, choices: Sequence[T], size: int) -> list[T]:
    """`size` distinct elements in random order."""
    return [choices[index] for index in rng.permutation(len(choices))[:size]]


def chance(rng: np.random.Generator, probability: float) -> bool:
    """True with the given probability."""
    return bool(rng.random() < probability)


def stable_hash(text: str) -> int:
    """A number that depends on the text alone, on every machine and in every version."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")


def split_of(key: str) -> str:
    """The only split in which items with this key may appear: train 55, selection 15, test 30 %.

    The split follows from the key alone, so splits cannot overlap, whatever the seeds.
    """
    part = stable_hash(f"split/{key}") % 100
    return "train" if part < 55 else "selection" if part < 70 else "test"


def draw_rows(
    rows: int,
    rng: np.random.Generator,
    split: str,
    draw: Callable[[np.random.Generator], tuple[str, Row]],
) -> list[Row]:
    """`rows` rows of a split; in selection and test no two are the same.

    `draw` gives a row and the key that decides on its split.

    Raises
    ------
    UserError
        If there is no such split, or it has fewer different rows.
    """
    if split not in SPLITS:
        raise UserError(f"no split '{split}'; the splits are {', '.join(SPLITS)}")
    found: list[Row] = []
    seen: set[str] = set()
    refused = 0
    while len(found) < rows:
        key, row = draw(rng)
        if split_of(key) == split and (split == "train" or str(row) not in seen):
            found.append(row)
            seen.add(str(row))
            refused = 0
        refused += 1
        if refused > PATIENCE:
            raise UserError(f"split '{split}' has only {len(found)} different rows, not {rows}")
    return found
