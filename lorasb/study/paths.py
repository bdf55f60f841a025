"""Where everything lies under `results/`. The rules use these patterns: each is written once."""

from __future__ import annotations

import re

from lorasb.errors import UserError

CELL = "results/{study}/runs/{model}/{task}/{variant}/r{rank}/lr{lr}/seed{seed}"
# why the last run of a cell failed; not there if it did not
FAILED = f"{CELL}/failed.json"
MODEL = "results/{study}/shared/models/{model}"
DATA = "results/{study}/shared/data/{model}/{task}"
GRADIENT = "results/{study}/shared/gradients/{model}/{task}/n{samples}/seed{seed}"
ACTIVATIONS = "results/{study}/shared/activations/{model}/{task}/n{samples}/seed{seed}"
GRADIENT_FACTORS = "results/{study}/shared/factors/{model}/{task}/n{samples}/seed{seed}"
WEIGHT_FACTORS = "results/{study}/shared/factors/{model}/weights"
SCORES = "results/{study}/scores/{model}/{task}"
DIRECTIONS = "results/{study}/directions/{model}/{task}.csv"
GRADIENT_PROBES = "results/{study}/probes/{model}/{task}.csv"
SPECTRA = "results/{study}/spectra/{model}/{task}.csv"
TABLES = "results/{study}/tables"
FIGURES = "results/{study}/figures"
RELEASED = "results/published/{study}/tables"
PAGE = "results/{study}/report.html"
PATTERNS = (
    *(CELL, MODEL, DATA, GRADIENT, ACTIVATIONS, GRADIENT_FACTORS, WEIGHT_FACTORS),
    *(SCORES, DIRECTIONS, GRADIENT_PROBES, SPECTRA, TABLES, FIGURES),
)

# what a method may need before it starts -> the file that holds it
STARTS = {
    "gradient": f"{GRADIENT}/gradient.safetensors",
    "gradient_factors": f"{GRADIENT_FACTORS}/factors.safetensors",
    "activations": f"{ACTIVATIONS}/activations.safetensors",
    "weight_factors": f"{WEIGHT_FACTORS}/factors.safetensors",
}


def coordinates(path: str) -> dict[str, str]:
    """What a path names by the first pattern that it, or a folder that it is in, follows."""
    for pattern in PATTERNS:
        expression = re.sub(r"\\{(\w+)\\}", r"(?P<\1>[^/]+)", re.escape(pattern))
        found = re.match(rf"{expression}(/|$)", path)
        if found:
            return found.groupdict()
    return {}


def cell_coordinates(path: str) -> dict[str, str]:
    """The coordinates of the cell whose folder a path is, or is in.

    Raises
    ------
    UserError
        If it is no cell's.
    """
    found = coordinates(path.removeprefix("./"))
    if "seed" not in found or "lr" not in found:
        raise UserError(f"{path}: no folder of a cell; those are {CELL}")
    return found
