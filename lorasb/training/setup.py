"""The base model of a task or a cell, and what its method is told."""

from __future__ import annotations

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from lorasb import grid
from lorasb.grid import Cell
from lorasb.methods.method import Context
from lorasb.models.load import load_model, load_tokenizer
from lorasb.models.spec import ModelSpec
from lorasb.resolve import Resolved, gradient_path
from lorasb.seeding import generator
from lorasb.training.schedule import start_learning_rate


def device() -> torch.device:
    """The GPU, or the CPU where there is none."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def load_base(resolved: Resolved, seed: int) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """The base model with the task head of a seed, and its tokenizer."""
    spec = ModelSpec.from_config(resolved.model)
    network = load_model(
        spec,
        kind=resolved.task["kind"],
        num_labels=resolved.task.get("num_labels", 1),
        generator=generator(seed, "head"),
    )
    return network.to(device()), load_tokenizer(spec)


def context(cell: Cell, resolved: Resolved, rows: int) -> Context:
    """What the cell's method is told."""
    rate = float(cell.lr)
    spec = ModelSpec.from_config(resolved.model)
    return Context(
        rank=cell.rank,
        learning_rate=rate,
        # a method that trains nothing has rate 0
        start_learning_rate=rate and start_learning_rate(resolved.settings, rate, rows),
        svd=resolved.settings["factors"]["svd"],
        seed=cell.seed,
        target_modules=list(spec.target_modules),
        task_head=spec.head_modules(resolved.task["kind"]),
        inputs={
            "gradient": gradient_path(cell, grid.GRADIENT) / "gradient.safetensors",
            "gradient_factors": gradient_path(cell, grid.GRADIENT_FACTORS) / "factors.safetensors",
            "weight_factors": cell.path(grid.WEIGHT_FACTORS) / "factors.safetensors",
        },
    )
