"""How models, tasks, evaluation sets and variants are called and ordered in a study."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from analysis.style import FREE, Style
from analysis.tidy import read, rows

COLUMNS = ["kind", "name", "label", "color", "marker", "line"]


class Names:
    """The tidy table `names`, to be asked. What it lacks is shown by its name, after the others.

    Parameters
    ----------
    table
        Columns `COLUMNS`, all text; kind is model, task, set or variant, and the order of its rows
        is that of tables and figures. The last three are empty but for variants with a style of
        their own.
    """

    def __init__(self, table: pd.DataFrame) -> None:
        self._labels = {(row.kind, row.name): row.label for row in rows(table)}
        variants = table[table["kind"] == "variant"]
        self._places = {name: place for place, name in enumerate(variants["name"])}
        self._styles = {
            row.name: Style(row.color, row.marker, row.line) for row in rows(variants) if row.color
        }

    @classmethod
    def read(cls, path: str | Path) -> Names:
        """Read `names.csv`.

        Raises
        ------
        TableError
            If the file is missing, damaged, no such table, or lacks a column.
        """
        return cls(read(path, COLUMNS, text=True))

    def model(self, name: str) -> str:
        """What a reader sees for a model."""
        return self._labels.get(("model", name), name)

    def task(self, name: str) -> str:
        """What a reader sees for a task."""
        return self._labels.get(("task", name), name)

    def set(self, name: str) -> str:
        """What a reader sees for an evaluation set."""
        return self._labels.get(("set", name), name)

    def label(self, variant: str, rank: int = 0) -> str:
        """What a reader sees for a variant, with its rank where it has one."""
        name = self._labels.get(("variant", variant), variant)
        return f"{name}, r = {rank}" if rank else name

    def ordered(self, variants: Iterable[str]) -> list[str]:
        """Distinct variants in display order; unknown ones last, by name."""
        last = len(self._places)
        return sorted(set(variants), key=lambda name: (self._places.get(name, last), name))

    def styles(self, variants: Iterable[str]) -> dict[str, Style]:
        """The style of each variant, its own or, in display order, a free one.

        Free styles differ in colour first, and in marker and line from the seventh on.

        Raises
        ------
        ValueError
            If more variants need a free style than there are.
        """
        ordered = self.ordered(variants)
        without = [name for name in ordered if name not in self._styles]
        if len(without) > len(FREE):
            raise ValueError(f"{len(without)} variants need a style, {len(FREE)} are left")
        found = self._styles | dict(zip(without, FREE, strict=False))
        return {name: found[name] for name in ordered}
