"""Final cells of the quickstart study with made-up parameters kept, and rows for them."""

from __future__ import annotations

from typing import Any

import torch
from safetensors.torch import save_file

from lorasb import grid
from lorasb.grid import Cell
from lorasb.methods.registry import variant_method
from lorasb.probes.replay import base_weights
from lorasb.resolve import Resolved, gradient_path, resolve
from lorasb.start.factors import factorize, save_factors
from lorasb.training.setup import context, load_base

STUDY, MODEL, TASK = "quickstart", "quickstart-llama", "sentences"
ROWS = 40
STEPS = (0, 1, 5)
VARIANTS = ["full", "lora", "lora-xs", "lora-sb"]


def resolved() -> Resolved:
    return resolve(STUDY, MODEL, TASK)


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
    return min(
        cell for cell in grid.final_cells(STUDY) if (cell.task, cell.variant) == (TASK, variant)
    )


def keep(variant: str) -> Cell:
    """Write what a cell would keep: its start, and each time random numbers added to it.

    The same numbers at every call.
    """
    made = cell(variant)
    network, _ = load_base(resolved(), made.seed)
    weights = base_weights(network, resolved())
    random = torch.Generator().manual_seed(3)
    steep = {name: torch.randn(weight.shape, generator=random) for name, weight in weights.items()}
    for pattern, factors in (
        (grid.WEIGHT_FACTORS, factorize(weights, grid.largest_rank(STUDY), step="none")),
        (grid.GRADIENT_FACTORS, factorize(steep, grid.largest_rank(STUDY), step="sign")),
    ):
        save_factors(factors, gradient_path(made, pattern) / "factors.safetensors")
    model = variant_method(variant).attach(network, context(made, resolved(), ROWS))
    trained = {name: value for name, value in model.named_parameters() if value.requires_grad}
    kept = {}
    for step in STEPS:
        for name, value in trained.items():
            noise = 0.02 * step * torch.randn(value.shape, generator=random)
            kept[f"{step}/{name}"] = value.detach() + noise
    made.folder.mkdir(parents=True, exist_ok=True)
    save_file(kept, made.folder / "snapshots.safetensors")
    return made
