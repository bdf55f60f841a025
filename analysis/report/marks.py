"""The markers of the figures as SVG paths between -1 and 1: for the charts and beside names."""

from __future__ import annotations

from math import cos, pi, sin

from analysis.style import Style


def _closed(corners: list[tuple[float, float]]) -> str:
    return "M" + "L".join(f"{x:.3g},{y:.3g}" for x, y in corners) + "Z"


def _ring(*radii: float, start: float = -pi / 2) -> str:
    """A closed polygon with corners at these distances, evenly turned from the top."""
    corners = [
        (radius * cos(turn), radius * sin(turn))
        for place, radius in enumerate(radii)
        for turn in [start + 2 * pi * place / len(radii)]
    ]
    return _closed(corners)


_ARM = [(0.35, 0.35), (1.0, 0.35), (1.0, -0.35)]  # of a plus, to the right


def _plus(angle: float) -> str:
    """Four arms, a quarter turn apart, the first at an angle."""
    corners = [
        (x * cos(turn) + y * sin(turn), y * cos(turn) - x * sin(turn))
        for quarter in range(4)
        for turn in [angle + quarter * pi / 2]
        for x, y in _ARM
    ]
    return _closed(corners)


CIRCLE = "M0.9,0A0.9,0.9,0,1,1,-0.9,0A0.9,0.9,0,1,1,0.9,0Z"
PATHS = {
    "o": CIRCLE,
    "s": _ring(*[1.15] * 4, start=-pi / 4),
    "D": _ring(*[1.1] * 4),
    "^": _ring(*[1.15] * 3),
    "v": _ring(*[1.15] * 3, start=pi / 2),
    ">": _ring(*[1.15] * 3, start=0),
    "<": _ring(*[1.15] * 3, start=pi),
    "p": _ring(*[1.0] * 5),
    "h": _ring(*[1.0] * 6),
    "*": _ring(*[1.2, 0.5] * 5),
    "P": _plus(0.0),
    "X": _plus(pi / 4),
}


def path(look: Style) -> str:
    """The marker of a style; a circle where its figures have a line alone."""
    return PATHS.get(look.marker, CIRCLE)
