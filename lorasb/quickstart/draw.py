"""Draws from sequences and the split that an item belongs to."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TypeVar

import numpy as np

from lorasb.errors import UserError

SPLITS = ("train", "selection", "test")

T = TypeVar("T")


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


def check_split(split: str) -> None:
    """Raise `UserError` if there is no such split."""
    if split not in SPLITS:
        raise UserError(f"no split '{split}'; the splits are {', '.join(SPLITS)}")
