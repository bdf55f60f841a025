"""Learning rates at an edge of the grid that a sweep tried."""

from __future__ import annotations

from collections.abc import Sequence

from analysis.names import Names

EDGES = {"low": "lowest tried", "high": "highest tried", "none": "inside the grid"}


def notes(edges: Sequence[Sequence[str]], names: Names) -> list[str]:
    """What a table must say of them: none or one note.

    Parameters
    ----------
    edges
        Model, task, variant, rank, rate and edge ("low" or "high") of each.
    """
    points = [
        f"{names.task(task)}, {names.label(variant, int(rank))} ({lr}, {EDGES[edge]})"
        for _, task, variant, rank, lr, edge in edges
    ]
    if not points:
        return []
    return [f"Better learning rates may lie outside what was tried for {'; '.join(points)}."]
