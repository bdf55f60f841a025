"""The base model of a task or a cell, and what its method is told."""

from __future__ import annotations

import math

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from lorasb import grid
from lorasb.config import Data
from lorasb.grid import Cell
from lorasb.initialize import first_learning_rate
from lorasb.methods.base import Context
from lorasb.models import ModelSpec, load_model, load_tokenizer
from lorasb.resolve import Resolved, gradient_path, total_steps, warmup_steps
from lorasb.seeding import generator


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


def start_learning_rate(settings: Data, rate: float, rows: int) -> float:
    """eta of a start that is a first step, for `rows` training rows.

    By `factors.learning_rate`: that of the first optimiser step above 0, or as the authors' code of
    arXiv 2411.19557 has it, rate / (warm-up ratio * batches * epochs), where batches are those in
    which the gradient's loader would pass through all rows.
    """
    training = settings["training"]
    steps = total_steps(settings, rows)
    if settings["factors"]["learning_rate"] == "first-step":
        warmup = warmup_steps(training, steps)
        return first_learning_rate(training["scheduler"], rate, warmup, steps)
    epochs = training["epochs"]
    if epochs is None:
        epochs = steps * training["batch_size"] * training["gradient_accumulation"] / rows
    batches = math.ceil(rows / settings["gradient"]["batch_size"])
    return float(rate / (training["warmup_ratio"] * batches * epochs))
