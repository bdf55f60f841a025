"""How figures look, and what metrics are called, in every figure and table alike."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.colors import to_hex, to_rgb
from matplotlib.figure import Figure

from analysis.tidy import writing

mpl.rc_file(Path(__file__).with_name("matplotlibrc"))

PANEL = (3.3, 2.7)  # inches, width and height of one panel
CONTROL = "#777777"  # what is no method: floors and ceilings
# the line through what nothing of less or equal cost is better than
FRONT: dict[str, Any] = {"color": CONTROL, "linestyle": "--", "linewidth": 0.8, "zorder": 1}


@dataclass(frozen=True)
class Style:
    """Colour, marker and line of a variant; each alone tells it apart, so that grey print reads."""

    color: str
    marker: str
    line: str | tuple[float, tuple[float, ...]]

    @property
    def arguments(self) -> dict[str, Any]:
        """Arguments of `Axes.plot`."""
        return {"color": self.color, "marker": self.marker, "linestyle": self.line}


# For variants without a style of their own: colours of Okabe and Ito (2008), which colour-blind
# readers can tell apart.
FREE = [
    Style(color, marker, line)
    for (marker, line), color in product(
        [
            *[("v", (0, (1, 1))), ("P", (0, (5, 1))), ("X", (0, (3, 1, 1, 1))), ("*", (0, (8, 2)))],
            *[("<", (0, (2, 2))), (">", (0, (5, 3))), ("p", (0, (6, 1, 1, 1))), ("h", (0, (1, 3)))],
        ],
        ["#CC79A7", "#56B4E9", "#E69F00", "#882255", "#999933", "#332288"],
    )
]
_METRICS = {
    "accuracy": "Accuracy",
    "accuracy_strict": "Accuracy, strict",
    "accuracy_flexible": "Accuracy",
    "answer_loss": "Loss of the right answer",
    "choice": "Likeliest option",
    "choice_norm": "Likeliest option by length",
    "matthews": "Matthews correlation",
    "f1": "F1",
    "pearson": "Pearson correlation",
    "spearman": "Spearman correlation",
}


def metric_label(metric: str) -> str:
    """A metric's name, without unit."""
    return _METRICS.get(metric, metric.replace("_", " ").capitalize())


def lower_is_better(metric: str) -> bool:
    """Whether less of a metric is better."""
    return metric == "answer_loss"


def percent_label(metric: str) -> str:
    """An axis label for a metric drawn times 100."""
    name = metric_label(metric)
    if lower_is_better(metric):
        return f"100 x {name} (nats a token, lower is better)"
    return f"100 x {name}" if "correlation" in name else f"{name} (%)"


def shade(color: str, rank: int, ranks: Iterable[int]) -> str:
    """A variant's colour, mixed with white for all but its largest rank."""
    larger = sum(other > rank for other in set(ranks))
    share = 0.72**larger
    red, green, blue = (share * part + 1 - share for part in to_rgb(color))
    return to_hex((red, green, blue))


def save(figure: Figure, pdf: str | Path, png: str | Path) -> None:
    """Write a figure as PDF and PNG, without dates: equal figures are equal bytes.

    Raises
    ------
    TableError
        If a file cannot be written.
    """
    with writing(pdf):
        figure.savefig(pdf, metadata={"CreationDate": None, "Producer": None, "Creator": None})
    with writing(png):
        figure.savefig(png, metadata={"Software": None})
