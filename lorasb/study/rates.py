"""Learning rates of a study's reported cells: fixed in its file, or selected by its sweep."""

from __future__ import annotations

import csv
from pathlib import Path

from lorasb.config.read import Data, check
from lorasb.errors import UserError
from lorasb.study.cells import Point

Selected = dict[Point, dict[str, str]]  # the rows of the committed outcome of a sweep, as text


def selected_rates_path(study: str) -> Path:
    """The committed outcome of the study's sweep."""
    return Path(f"config/studies/{study}.selected_lr.tsv")


def read_selected_rates(path: Path) -> Selected:
    """The committed outcome of a sweep.

    Raises
    ------
    UserError
        If the file is missing, or a rate is not in its one spelling.
    """
    if not path.exists():
        raise UserError(
            f"{path}: no such file; run the target 'sweep', read its table and copy it there"
        )
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    rates = {f"line {number}": row["lr"] for number, row in enumerate(rows, start=2)}
    check(rates, "learning_rates", str(path))
    return {Point(row["model"], row["task"], row["variant"], int(row["rank"])): row for row in rows}


def selected_rate(selected: Selected, point: Point, path: Path) -> str:
    """The rate that the sweep chose for a point; an error where it has none."""
    if point not in selected:
        raise UserError(
            f"{path}: no learning rate for {', '.join(map(str, point))}; "
            "run the target 'sweep' first"
        )
    return selected[point]["lr"]


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
