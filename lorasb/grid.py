"""From a study to its cells, and from a cell to its path. No other module builds either.

A cell is one run. Its path is its identity:
`results/{study}/runs/{model}/{task}/{variant}/r{rank}/lr{lr}/seed{seed}/`.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from functools import cache
from itertools import product
from pathlib import Path

from lorasb import config
from lorasb.errors import UserError
from lorasb.registry import variant_method

# The folder patterns; the rules use the same constants, so a path is written down once.
CELL = "results/{study}/runs/{model}/{task}/{variant}/r{rank}/lr{lr}/seed{seed}"
DATA = "results/{study}/shared/data/{model}/{task}"
GRADIENT = "results/{study}/shared/gradients/{model}/{task}/n{samples}/seed{seed}"
GRADIENT_FACTORS = "results/{study}/shared/factors/{model}/{task}/n{samples}/seed{seed}"
WEIGHT_FACTORS = "results/{study}/shared/factors/{model}/weights"
SCORES = "results/{study}/scores/{model}/{task}"
DIRECTIONS = "results/{study}/directions/{model}/{task}.csv"
GRADIENT_PROBES = "results/{study}/probes/{model}/{task}.csv"
SPECTRA = "results/{study}/spectra/{model}/{task}.csv"
TABLES = "results/{study}/tables"
FIGURES = "results/{study}/figures"

NO_RATE = "0"  # the learning rate of a method that trains nothing
COLUMNS = ("model", "task", "variant", "rank", "lr", "seed")


@dataclass(frozen=True, order=True)
class Cell:
    """One run: what it trains, on what, how, and with which seed."""

    study: str
    model: str
    task: str
    variant: str
    rank: int
    lr: str
    seed: int

    @property
    def folder(self) -> Path:
        """Where the cell's files are."""
        return Path(CELL.format(**vars(self)))

    def path(self, pattern: str) -> Path:
        """A folder pattern of this module with the cell's coordinates filled in."""
        return Path(pattern.format(**vars(self)))

    @property
    def split(self) -> str:
        """The rows it is scored on: `selection` for a seed of the sweep, else `test`."""
        sweep = config.load_study(self.study).get("sweep", {})
        return "selection" if self.seed in sweep.get("seeds", []) else "test"

    @property
    def columns(self) -> dict[str, str | int]:
        """The coordinates that tables of one study carry."""
        return {name: getattr(self, name) for name in COLUMNS}


def points(study: str) -> list[tuple[str, str, str, int]]:
    """(model, task, variant, rank) of a study, each name checked against its file."""
    data = config.load_study(study)
    found = []
    for model, task in product(data["models"], data["tasks"]):
        config.load_model_config(model)
        config.load_task_config(task)
        for variant, entry in data["variants"].items():
            found += [(model, task, variant, rank) for rank in _ranks(study, variant, entry)]
    return found


def final_cells(study: str) -> list[Cell]:
    """The cells whose test scores a study reports, at the learning rates it fixed or selected."""
    cells = [
        Cell(study, model, task, variant, rank, _rate(study, model, task, variant, rank), seed)
        for model, task, variant, rank in points(study)
        for seed in _seeds(study, variant)
    ]
    both = sorted({cell.seed for cell in cells if cell.split == "selection"})
    if both:
        raise UserError(
            f"config/studies/{study}.yaml: sweep.seeds has {both[0]}, which is a final seed; "
            "a learning rate is chosen on other seeds than those that are reported"
        )
    return cells


def sweep_cells(study: str) -> list[Cell]:
    """The cells of the learning-rate sweep: other seeds, scored on the selection split."""
    sweep = config.load_study(study).get("sweep")
    if sweep is None:
        raise UserError(f"config/studies/{study}.yaml: no key 'sweep'; nothing to sweep")
    cells = []
    for model, task, variant, rank in points(study):
        _check_selection(study, task)
        if not variant_method(variant).trains:
            continue
        rates = sweep["learning_rates"].get(variant)
        if rates is None:
            raise UserError(
                f"config/studies/{study}.yaml: sweep.learning_rates has no entry for '{variant}'"
            )
        cells += [
            Cell(study, model, task, variant, rank, lr, seed)
            for lr, seed in product(rates, sweep["seeds"])
        ]
    return cells


def _check_selection(study: str, task: str) -> None:
    if config.load_task_config(task)["splits"]["selection"]["rows"] == 0:
        raise UserError(
            f"config/studies/{study}.yaml: nothing to sweep on: the task '{task}' has an empty "
            "selection split; sweep a study of tasks that have one"
        )


def scored_cells(study: str, split: str) -> list[Cell]:
    """The cells that are scored on a split: final ones on `test`, the sweep's on `selection`."""
    return final_cells(study) if split == "test" else sweep_cells(study)


def largest_rank(study: str) -> int:
    """The rank at which factors are computed; smaller ranks slice them."""
    variants = config.load_study(study)["variants"].values()
    ranks = [rank for variant in variants for rank in variant.get("ranks", [])]
    if not ranks:
        raise UserError(f"config/studies/{study}.yaml: no variant has ranks; nothing to factorise")
    return max(ranks)


def selected_rates_path(study: str) -> Path:
    """The committed outcome of the study's sweep."""
    return Path(f"config/studies/{study}.selected_lr.tsv")


@cache
def selected_rates(study: str) -> dict[tuple[str, ...], dict[str, str]]:
    """(model, task, variant, rank) -> the row of the committed outcome, as text."""
    path = selected_rates_path(study)
    if not path.exists():
        raise UserError(
            f"{path}: no such file; run the target 'sweep', read its table and copy it there"
        )
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    rates = {f"line {number}": row["lr"] for number, row in enumerate(rows, start=2)}
    config.check(rates, "learning_rates", str(path))
    return {(row["model"], row["task"], row["variant"], row["rank"]): row for row in rows}


def _ranks(study: str, variant: str, entry: config.Data) -> list[int]:
    has_rank = variant_method(variant).has_rank
    if has_rank != ("ranks" in entry):
        wanted = "needs a list 'ranks'" if has_rank else "has no rank; remove 'ranks'"
        raise UserError(f"config/studies/{study}.yaml: variants.{variant} {wanted}")
    return list(entry.get("ranks", [0]))


def _seeds(study: str, variant: str) -> list[int]:
    data = config.load_study(study)
    return list(data["variants"][variant].get("seeds", data["seeds"]))


def _rate(study: str, model: str, task: str, variant: str, rank: int) -> str:
    if not variant_method(variant).trains:
        return NO_RATE
    fixed = config.load_study(study)["learning_rates"]
    if fixed != "selected":
        return _fixed_rate(fixed, task, variant, f"config/studies/{study}.yaml: learning_rates")
    point = (model, task, variant, str(rank))
    if point not in selected_rates(study):
        raise UserError(
            f"{selected_rates_path(study)}: no learning rate for {', '.join(point)}; "
            "run the target 'sweep' first"
        )
    return selected_rates(study)[point]["lr"]


def _fixed_rate(fixed: config.Data, task: str, variant: str, where: str) -> str:
    """A variant's rate: one for all tasks, or one for each."""
    if variant not in fixed:
        raise UserError(f"{where} has no '{variant}'")
    rate = fixed[variant]
    if isinstance(rate, dict):
        if task not in rate:
            raise UserError(f"{where}.{variant} has no '{task}'")
        rate = rate[task]
    return str(rate)
