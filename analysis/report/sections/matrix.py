"""Paired differences as a matrix: row minus column, in points."""

from __future__ import annotations

from dataclasses import dataclass

from analysis import formats
from analysis.report.pairs import Pair, Pairs, against
from analysis.report.points import Point

SIGNS = {1: "▲", -1: "▼"}
# classes of cells, short since there are thousands: higher, lower, unplanned
KINDS = {1: "h", -1: "l", 0: ""}


MANY = 14  # columns above which cells are whole points, so that all of them fit the page


@dataclass(frozen=True)
class Cell:
    """What a cell says, and its classes."""

    text: str
    kind: str


@dataclass(frozen=True)
class Matrix:
    """One score: labels of rows and columns, and the cells; None on the diagonal."""

    name: str
    labels: list[str]
    cells: list[list[Cell | None]]

    @property
    def many(self) -> bool:
        """Whether its cells are small."""
        return len(self.labels) > MANY


def matrices(points: list[Point], pairs: Pairs, scores: dict[str, str]) -> list[Matrix]:
    """One matrix a score that has pairs; points without a score are left out."""
    found = []
    for score, name in scores.items():
        places = [place for place, point in enumerate(points) if score in point.scores]
        if pairs.get(score):
            columns = {place: against(pairs[score], place) for place in places}
            digits = 0 if len(places) > MANY else 1
            cells = [[_cell(columns[b].get(a), digits) for b in places] for a in places]
            found.append(Matrix(name, [points[place].label for place in places], cells))
    return found


def _cell(pair: Pair | None, digits: int) -> Cell | None:
    if pair is None:
        return None
    kind = f"{KINDS[pair.verdict]} {'' if pair.planned else 'u'}".strip()
    # the sign that tells which is higher stands for a minus
    size = abs(pair.value) if pair.verdict else pair.value
    text = SIGNS.get(pair.verdict, "") + formats.percent(size, digits)
    return Cell(text.replace("-", "−"), kind)  # noqa: RUF001 - a minus
