"""Tidy tables of a study that takes some of its cells from a release."""

from __future__ import annotations

from collections.abc import Iterable

import pandas as pd

from lorasb.records import Inputs, sha256
from lorasb.study.cells import Cell
from lorasb.study.read import path_of_table, read_table
from lorasb.study.released import released_tables
from lorasb.study.study import Study
from lorasb.tidy.tables import in_order, of_cells


def with_released(study: Study, name: str, own: pd.DataFrame, inputs: Inputs) -> pd.DataFrame:
    """A table of the cells that ran, and the rows that the release has of the others.

    In the order of the study's cells. A column that one of the two lacks is empty there.
    """
    if not study.released_cells:
        return own
    taken = released_rows(study, name)
    path = path_of_table(released_tables(study), name)
    inputs.note(f"the released {path}", sha256(path))
    if "study" in taken:
        taken = taken.assign(study=study.name)
    return joined(study.cells, own, taken)


def joined(cells: Iterable[Cell], own: pd.DataFrame, taken: pd.DataFrame) -> pd.DataFrame:
    """The rows of both tables in the order of the cells."""
    # a part without rows would take the columns' types from the other
    parts = [part for part in (own, taken) if len(part)] or [own]
    return in_order(cells, pd.concat(parts, ignore_index=True))


def released_rows(study: Study, name: str) -> pd.DataFrame:
    """The rows of a released table that are of the cells taken from there."""
    return of_cells(study.released_cells, read_table(released_tables(study), name))
