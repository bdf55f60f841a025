"""Final cells of the quickstart study with made-up parameters kept, and rows for them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from lorasb.probes.replay import base_weights
from lorasb.records import Inputs, write_record
from lorasb.start.factors import factorize, save_factors
from lorasb.study.cells import Cell
from lorasb.study.study import Resolved, Study
from lorasb.training.setup import context, load_base

STUDY, MODEL, TASK = "quickstart", "quickstart-llama", "sentences"
ROWS = 40
STEPS = (0, 1, 5)
VARIANTS = ["full", "lora", "lora-xs", "lora-sb"]


def study() -> Study:
    return Study.load(STUDY)


def resolved() -> Resolved:
    return study().resolved(MODEL, TASK)


def rows() -> list[dict[str, Any]]:
    """Rows of a task with four classes, of different lengths."""
    random = torch.Generator().manual_seed(7)
    return [
        {
            "input_ids": torch.randint(5, 200, (4 + index % 5,), generator=random).tolist(),
            "labels": index % 4,
        }
        for index in range(ROWS)
    ]


def cell(variant: str) -> Cell:
    """The final cell of a variant with its smallest rank and the first seed."""
    return min(cell for cell in study().cells_of(MODEL, TASK) if cell.variant == variant)


def keep(variant: str) -> Cell:
    """Write what a cell would keep: its start, and each time random numbers added to it.

    The same numbers at every call.
    """
    made, found = cell(variant), study()
    network, _ = load_base(resolved(), made.seed)
    weights = base_weights(network, resolved())
    random = torch.Generator().manual_seed(3)
    steep = {name: torch.randn(weight.shape, generator=random) for name, weight in weights.items()}
    for need, factors in (
        ("weight_factors", factorize(weights, found.largest_rank, step="none")),
        ("gradient_factors", factorize(steep, found.largest_rank, step="sign")),
    ):
        save_factors(factors, found.start_file(made, need))
        record(found.start_file(made, need))
    method = found.variants[variant].method
    model = method.attach(network, context(found, made, ROWS))
    trained = {name: value for name, value in model.named_parameters() if value.requires_grad}
    kept = {}
    for step in STEPS:
        for name, value in trained.items():
            noise = 0.02 * step * torch.randn(value.shape, generator=random)
            kept[f"{step}/{name}"] = value.detach() + noise
    made.folder.mkdir(parents=True, exist_ok=True)
    save_file(kept, made.folder / "snapshots.safetensors")
    record(made.folder / "snapshots.safetensors")
    return made


def record(path: Path | str) -> None:
    """The record of a file that no stage wrote."""
    write_record(f"{path}.record.json", [path], Inputs())
