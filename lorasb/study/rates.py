"""Learning rates of a study's reported cells: fixed in its file, or selected by its sweep."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from lorasb.config.read import Data, check, path_of, read_text
from lorasb.errors import UserError
from lorasb.study.cells import Point

Row = Mapping[Any, Any]
Selected = dict[Point, Row]  # the rows of the committed outcome of a sweep, as text
EDGES = {"low": "lowest", "high": "highest"}


def selected_rates_path(study: str) -> Path:
    """The committed outcome of the study's sweep."""
    return path_of("studies", study).with_name(f"{study}.selected_lr.tsv")


def read_selected_rates(path: Path) -> Selected:
    """The committed outcome of a sweep.

    Raises
    ------
    UserError
        If the file is missing, if a rate or a rank is not in its one spelling, or if a point has
        two rates.
    """
    if not path.exists():
        raise UserError(
            f"{path}: no such file; run the target 'sweep', read its table and copy it there"
        )
    table = csv.DictReader(read_text(path).splitlines(), delimiter="\t")
    rows = {f"line {number}": row for number, row in enumerate(table, start=2)}
    check(rows, "learning_rates", str(path))
    selected: Selected = {}
    for line, row in rows.items():
        point = Point(row["model"], row["task"], row["variant"], int(row["rank"]))
        if point in selected:
            raise UserError(f"{path}: {line}: a second rate for {', '.join(map(str, point))}")
        selected[point] = row
    return selected


def selected_rate(selected: Selected, point: Point, path: Path) -> str:
    """The rate that the sweep chose for a point; an error where it has none."""
    if point not in selected:
        raise UserError(
            f"{path}: no learning rate for {', '.join(map(str, point))}; "
            "run the target 'sweep' first"
        )
    return str(selected[point]["lr"])


def fixed_rate(fixed: Data, point: Point, where: str) -> str:
    """The rate that a study states for a variant: one for all tasks, or one for each."""
    if point.variant not in fixed:
        raise UserError(f"{where} has no '{point.variant}'")
    rate = fixed[point.variant]
    if isinstance(rate, dict):
        if point.task not in rate:
            raise UserError(f"{where}.{point.variant} has no '{point.task}'")
        rate = rate[point.task]
    return str(rate)


def all_chosen(study: str) -> str:
    """The line for a sweep that has nothing left to do."""
    return (
        f"{selected_rates_path(study)}: has a rate for each point, chosen under the present "
        "settings from the present grid; remove the lines of those to choose anew"
    )


def at_an_edge(selected: Iterable[Row]) -> Iterator[str]:
    """A line for each rate with none tried below or above it: a better one may lie there."""
    for row in selected:
        if row.get("edge") in EDGES:
            point = ", ".join(str(row[name]) for name in Point._fields)
            yield f"{point}: {row['lr']} is the {EDGES[row['edge']]} rate tried; widen its grid"
