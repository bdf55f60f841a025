"""Lines of methods on tasks: a panel a task, or one a method where that would be crowded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis import panels, style
from analysis.names import Names
from analysis.tidy import POINT

MANY = 15  # methods whose lines one panel can hold so that each is told from the others
COLUMNS = 8  # panels of methods beside each other
SMALL = (1.5, 1.1)  # inches, width and height of one
SMALL_TEXT = "x-small"
STROKES = ["-", "--", "-.", ":"]  # of tasks, so that grey print reads

Point = tuple[str, str, str, int]
Look = dict[str, Any]


@dataclass(frozen=True)
class Lines:
    """A figure without lines yet: where each model, task, variant and rank is drawn, and how."""

    figure: Figure
    axes: dict[Point, Axes]
    looks: dict[Point, Look]  # arguments of `Axes.plot`
    labels: list[str]  # of the legend, in its order
    apart: bool  # whether each method has a panel of its own, with a line a task


def lines(table: pd.DataFrame, title: str, names: Names) -> Lines:
    """Panels for the methods and tasks of a table, which has at least one row."""
    methods = panels.points(table, names)
    keys = list(table[POINT].drop_duplicates().itertuples(index=False, name=None))
    draw = _a_panel_a_method if len(methods) > MANY else _a_panel_a_task
    return draw(table, keys, title, names)


def _a_panel_a_task(table: pd.DataFrame, keys: Sequence[Point], title: str, names: Names) -> Lines:
    figure, axes = panels.panels(table, title, names)
    looks = panels.line_styles(table, names)
    return Lines(
        figure,
        {key: axes[key[:2]] for key in keys},
        {key: looks[key[2:]] for key in keys},
        [look["label"] for look in looks.values()],
        apart=False,
    )


def _a_panel_a_method(
    table: pd.DataFrame, keys: Sequence[Point], title: str, names: Names
) -> Lines:
    methods = panels.points(table, names)
    figure, grid = _small_panels(len(methods), title)
    for panel, method in zip(grid, methods, strict=True):
        panel.set_title(names.label(*method), fontsize=SMALL_TEXT, pad=2)
    axes = dict(zip(methods, grid, strict=True))
    looks = _looks_of_tasks(panels.tasks(table), names)
    return Lines(
        figure,
        {key: axes[key[2:]] for key in keys},
        {key: looks[key[:2]] for key in keys},
        [look["label"] for look in looks.values()],
        apart=True,
    )


def _small_panels(number: int, title: str) -> tuple[Figure, list[Axes]]:
    """So many panels that share both axes, with a legend's room at their right."""
    lines, (width, height) = ceil(number / COLUMNS), SMALL
    size = (COLUMNS * width + panels.LEGEND, lines * height + 0.6)
    figure = Figure(figsize=size, layout="constrained")
    figure.suptitle(title, fontsize="large")
    grid = figure.subplots(lines, COLUMNS, sharex=True, sharey=True, squeeze=False)
    for place, panel in enumerate(grid.flat):
        panel.margins(y=0.12)
        panel.tick_params(labelsize=SMALL_TEXT, labelbottom=place + COLUMNS >= number)
        if place >= number:
            panel.remove()
    return figure, list(grid.flat[:number])


def _looks_of_tasks(tasks: Sequence[tuple[str, str]], names: Names) -> dict[tuple[str, str], Look]:
    labels = panels.task_labels(tasks, names)
    return {
        key: {
            "color": style.FREE[place % len(style.FREE)].color,
            "linestyle": STROKES[place % len(STROKES)],
            "linewidth": 1.2,
            "label": label,
        }
        for place, (key, label) in enumerate(zip(tasks, labels, strict=True))
    }
