"""A cell is one run. Its path is its identity; `lorasb.study.study` is what makes cells."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from lorasb.study.paths import CELL, DATA

NO_RATE = "0"  # the learning rate of a method that trains nothing
COLUMNS = ("model", "task", "variant", "rank", "lr", "seed")


class Point(NamedTuple):
    """What learning rates are chosen for, and scores averaged over seeds."""

    model: str
    task: str
    variant: str
    rank: int


@dataclass(frozen=True, order=True)
class Cell:
    """One run: what it trains, on what, how, with which seed, and what it is scored on."""

    study: str
    model: str
    task: str
    variant: str
    rank: int
    lr: str
    seed: int
    # `selection` for a seed of the sweep, else `test`
    split: str

    @property
    def folder(self) -> Path:
        """Where the cell's files are."""
        return self.path(CELL)

    def path(self, pattern: str) -> Path:
        """A pattern of `lorasb.study.paths` with the cell's coordinates filled in."""
        return Path(pattern.format(**vars(self)))

    @property
    def split_path(self) -> Path:
        """The prepared rows that the cell is scored on."""
        return self.path(DATA) / f"{self.split}.parquet"

    @property
    def point(self) -> Point:
        """The cell without its learning rate and seed."""
        return Point(self.model, self.task, self.variant, self.rank)

    @property
    def columns(self) -> dict[str, str | int]:
        """The coordinates that tables of one study carry."""
        return {name: getattr(self, name) for name in COLUMNS}
