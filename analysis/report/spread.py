"""Where points of the chart stand beside each other, so that none hides another."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import count
from math import log

from analysis.report.points import Point

SIZE = (560.0, 300.0)  # pixels of the chart, as it is on a wide screen
MARK = 10.0  # pixels, width and height of a mark
STEPS = (5.0, 2.0)  # pixels between neighbours, less than a mark: wished for, and at least
WIDEST = 40.0  # pixels that points of equal cost take together, if the smaller step allows it

Box = tuple[float, float, float]  # place of the cost, upper and lower end of the interval


def offsets(points: Sequence[Point], shape: str, score: str, cost: str) -> dict[str, float]:
    """Pixels by which to move each point sideways, by its key; what need not move is left out."""
    drawn = [point for point in points if score in point.scores]
    values = [cost_of(point, shape, score, cost) for point in drawn]
    known = [
        (point, value) for point, value in zip(drawn, values, strict=True) if value is not None
    ]
    if len(known) < 2:
        return {}
    found = apart(_boxes(known, score))
    return {point.key: move for (point, _), move in zip(known, found, strict=True) if move}


def cost_of(point: Point, shape: str, score: str, cost: str) -> float | None:
    """A cost at a shape, None where it is not known."""
    by_score = point.costs.get(shape, {})
    return by_score.get(score, by_score.get("*", {})).get(cost)


def apart(boxes: Sequence[Box]) -> list[float]:
    """Moves after which no two intervals, with their marks, are nearer than a step."""
    nearest = max(sum(abs(box[0] - other[0]) < 1 for other in boxes) for box in boxes)
    step = max(STEPS[1], min(STEPS[0], WIDEST / nearest))
    placed: list[Box] = []
    found = []
    for x, top, bottom in boxes:
        for turn in count():
            move = step * ((turn + 1) // 2) * (-1) ** turn
            if all(
                abs(x + move - other) >= step or top > low or bottom < high
                for other, high, low in placed
            ):
                break
        placed.append((x + move, top - MARK / 2, bottom + MARK / 2))
        found.append(move)
    return found


def _boxes(known: list[tuple[Point, float]], score: str) -> list[Box]:
    logs = [log(value) if value > 0 else None for _, value in known]
    first = min((value for value in logs if value is not None), default=0.0)
    last = max((value for value in logs if value is not None), default=0.0)
    wide = SIZE[0] / (last - first) if last > first else 0.0
    ends = [_ends(point, score) for point, _ in known]
    lowest, highest = min(low for low, _ in ends), max(high for _, high in ends)
    high_scale = SIZE[1] / (highest - lowest) if highest > lowest else 0.0
    return [
        (
            # what costs nothing stands in a column of its own
            -SIZE[0] if place is None else wide * (place - first),
            high_scale * (highest - high),
            high_scale * (highest - low),
        )
        for place, (low, high) in zip(logs, ends, strict=True)
    ]


def _ends(point: Point, score: str) -> tuple[float, float]:
    found = point.scores[score]
    return (found.low, found.high) if found.low == found.low else (found.mean, found.mean)
