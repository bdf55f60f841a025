"""How methods, tasks and metrics look and are called, in every figure and table alike."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.colors import to_hex, to_rgb
from matplotlib.figure import Figure

mpl.rc_file(Path(__file__).with_name("matplotlibrc"))

PANEL = (3.3, 2.7)  # inches, width and height of one panel
CONTROL = "#777777"  # what is no method: floors, ceilings, the base model


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


# Colours of Okabe and Ito (2008), which colour-blind readers can tell apart.
_KNOWN = {
    "base": Style(CONTROL, "", ":"),
    "full": Style("#000000", "s", "-"),
    "lora": Style("#0072B2", "^", "--"),
    "lora-xs": Style("#009E73", "D", "-."),
    "lora-sb": Style("#D55E00", "o", "-"),
}
_FREE = [
    Style(color, marker, line)
    for (marker, line), color in product(
        [("v", (0, (1, 1))), ("P", (0, (5, 1))), ("X", (0, (3, 1, 1, 1))), ("*", (0, (8, 2)))],
        ["#CC79A7", "#56B4E9", "#E69F00", "#882255", "#999933", "#332288"],
    )
]
_LABELS = {
    "base": "base model",
    "full": "full fine-tuning",
    "lora": "LoRA",
    "lora-xs": "LoRA-XS",
    "lora-sb": "LoRA-SB",
    "lora-sb-zero": "LoRA-SB, R = 0",
    "lora-sb-folded": "LoRA-SB, not orthonormal",
    "lora-sb-random": "LoRA-SB, random bases",
    "lora-sb-noise0.1": "LoRA-SB, noise 0.1",
    "lora-sb-noise1": "LoRA-SB, noise 1",
    "lora-sb-noise10": "LoRA-SB, noise 10",
    "lora-sb-s0.25": "LoRA-SB, s = 0.25",
    "lora-sb-s4": "LoRA-SB, s = 4",
    "lora-sb-sgd": "LoRA-SB, SGD",
    "lora-sb-sgd-s0.25": "LoRA-SB, SGD, s = 0.25",
    "lora-sb-sgd-s4": "LoRA-SB, SGD, s = 4",
    "lora-sb-n1": "LoRA-SB, 1 sample",
    "lora-sb-n5": "LoRA-SB, 5 samples",
    "lora-sb-n25": "LoRA-SB, 25 samples",
    "lora-sb-n50": "LoRA-SB, 50 samples",
    "lora-sb-n100": "LoRA-SB, 100 samples",
    "lora-sb-n200": "LoRA-SB, 200 samples",
    "lora-sb-n500": "LoRA-SB, 500 samples",
    "rslora": "rsLoRA",
    "pissa": "PiSSA",
    "dora": "DoRA",
    "lora-pro": "LoRA-Pro",
    "lora-pro-efficient": "LoRA-Pro, efficient",
}
# tasks and their evaluation sets
_TASKS = {
    "sst2": "SST-2",
    "mrpc": "MRPC",
    "stsb": "STS-B",
    "cola": "CoLA",
    "rte": "RTE",
    "qnli": "QNLI",
    "metamath": "MetaMath",
    "metamath-sample": "MetaMath (sample)",
    "gsm8k": "GSM8K",
    "math": "MATH",
    "boolq": "BoolQ",
    "piqa": "PIQA",
    "siqa": "SIQA",
    "hellaswag": "HellaSwag",
    "winogrande": "WinoGrande",
    "arc-easy": "ARC-e",
    "arc-challenge": "ARC-c",
    "openbookqa": "OBQA",
}
AUTHORS = "-authors"  # a task prompted and cut as the authors' code does it
_METRICS = {
    "accuracy": "Accuracy",
    "accuracy_strict": "Accuracy, strict",
    "accuracy_flexible": "Accuracy",
    "matthews": "Matthews correlation",
    "f1": "F1",
    "pearson": "Pearson correlation",
    "spearman": "Spearman correlation",
}


def ordered(variants: Iterable[str]) -> list[str]:
    """Distinct variants: the known ones from the base model to LoRA-SB, then the others by name.

    Numbers in names count as numbers: `n5` comes before `n25`.
    """
    distinct = set(variants)
    others = sorted(distinct - _KNOWN.keys(), key=_natural)
    return [name for name in _KNOWN if name in distinct] + others


def styles(variants: Iterable[str]) -> dict[str, Style]:
    """The style of each variant; those without one of their own get the free ones by name.

    Free styles differ in colour first, and in marker and line from the seventh on.
    """
    names = ordered(variants)
    unknown = [name for name in names if name not in _KNOWN]
    free = dict(zip(unknown, _FREE, strict=False))
    if len(free) < len(unknown):
        raise ValueError(f"{len(unknown)} variants need a style, {len(_FREE)} are left")
    return {name: _KNOWN.get(name) or free[name] for name in names}


def label(variant: str, rank: int = 0) -> str:
    """What a reader sees for a variant, with its rank where it has one."""
    name = _LABELS.get(variant, variant)
    return f"{name}, r = {rank}" if rank else name


def task_label(task: str) -> str:
    """The name of a task, or of an evaluation set, in titles and columns."""
    if task.endswith(AUTHORS):
        return f"{task_label(task.removesuffix(AUTHORS))} (authors)"
    return _TASKS.get(task, task.capitalize())


def metric_label(metric: str) -> str:
    """A metric's name, without unit."""
    return _METRICS.get(metric, metric.replace("_", " ").capitalize())


def percent_label(metric: str) -> str:
    """An axis label for a metric drawn times 100."""
    name = metric_label(metric)
    return f"100 x {name}" if "correlation" in name else f"{name} (%)"


def shade(color: str, rank: int, ranks: Iterable[int]) -> str:
    """A variant's colour, mixed with white for all but its largest rank."""
    larger = sum(other > rank for other in set(ranks))
    share = 0.72**larger
    red, green, blue = (share * part + 1 - share for part in to_rgb(color))
    return to_hex((red, green, blue))


def save(figure: Figure, pdf: str | Path, png: str | Path) -> None:
    """Write a figure as PDF and PNG, without dates: equal figures are equal bytes."""
    figure.savefig(pdf, metadata={"CreationDate": None, "Producer": None, "Creator": None})
    figure.savefig(png, metadata={"Software": None})


def _natural(name: str) -> list[str | float]:
    """Text and numbers in turn; a point is part of a number."""
    parts = re.split(r"(\d+(?:\.\d+)?)", name)
    return [float(part) if place % 2 else part for place, part in enumerate(parts)]
