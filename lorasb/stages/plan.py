"""What a study will cost before anyone spends it: cells, GPU hours, memory, disk.

Hours of training come from the throughput of this study's cells where some have run, else from
arithmetic and a stated speed: 6 operations a parameter and token for full fine-tuning, 4 for an
adapter, which needs no gradient of the frozen weights (Kaplan et al., arXiv 2001.08361). Lengths
are the prepared rows' medians, or the longest that the settings allow where nothing is prepared.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from statistics import median

import pandas as pd

from lorasb import grid
from lorasb.collect import FLOAT_BYTES, adapted_shapes, cell_counts
from lorasb.config import read as config
from lorasb.errors import UserError
from lorasb.files import read_json
from lorasb.grid import Cell
from lorasb.methods.counts import Counts
from lorasb.methods.registry import variant_method
from lorasb.models.load import skeleton
from lorasb.models.spec import ModelSpec
from lorasb.resolve import Resolved, gradient_path, resolve
from lorasb.tasks.task import Task
from lorasb.training.schedule import total_steps

TERAFLOPS = 150.0  # what one H100 or A100 keeps up in bfloat16, about; an option of the verb
# bytes that one layer keeps for backward, a token and unit of width, with 2-byte numbers and
# without the attention matrix (Korthikanti et al., arXiv 2205.05198, equation 2)
ACTIVATION_BYTES = 34
HOUR = 3600.0


@dataclass(frozen=True)
class Network:
    """What a plan needs to know of a base model."""

    parameters: int
    width: int
    layers: int
    vocabulary: int
    dtype_bytes: int


def plan(study: str, teraflops: float = TERAFLOPS) -> pd.DataFrame:
    """One row a model, task, variant and rank of a study's final cells.

    Columns: `cells`; `steps` and `tokens` of one cell's training; `gpu_hours` of all its cells;
    `speed`, "measured" or "stated"; `memory_gb` of training on one GPU; `disk_gb` of what all its
    cells store.

    Raises
    ------
    UserError
        If the number of training rows is not known, and steps are given in epochs.
    """
    cells: dict[tuple[str, str, str, int], list[Cell]] = {}
    for cell in grid.final_cells(study):
        cells.setdefault((cell.model, cell.task, cell.variant, cell.rank), []).append(cell)
    return pd.DataFrame([_row(found, teraflops) for found in cells.values()])


def summary(study: str, teraflops: float = TERAFLOPS) -> str:
    """The plan as Markdown, with its totals in a line below."""
    table = plan(study, teraflops)
    disk = table["disk_gb"].sum() + _shared_bytes(study) / 1e9
    return (
        f"{table.to_markdown(index=False, floatfmt='.3g')}\n\n"
        f"{study}: {table['cells'].sum()} cells, {table['gpu_hours'].sum():.3g} GPU hours of "
        f"training at {teraflops:g} teraflops where none were measured, at most "
        f"{table['memory_gb'].max():.3g} GB of GPU memory, {disk:.3g} GB of disk with gradients "
        "and factors. Evaluation comes on top.\n"
    )


def _row(cells: list[Cell], teraflops: float) -> dict[str, object]:
    cell = cells[0]
    resolved = resolve(cell.study, cell.model, cell.task)
    network, counts = _network(cell.model, cell.task), cell_counts(cell)
    steps, length = 0, _length(cell, resolved)
    if variant_method(cell.variant).trains:
        steps = total_steps(resolved.settings, _training_rows(cell, resolved))
    training = resolved.settings["training"]
    sequences = training["batch_size"] * training["gradient_accumulation"]
    tokens = steps * sequences * length
    measured = _measured_speed(cells)
    operations = (6 if counts.whole_model else 4) * network.parameters
    speed = measured or teraflops * 1e12 / operations
    return {
        "model": cell.model,
        "task": cell.task,
        "variant": cell.variant,
        "rank": cell.rank,
        "cells": len(cells),
        "steps": steps,
        "tokens": tokens,
        "gpu_hours": len(cells) * tokens / speed / HOUR,
        "speed": "measured" if measured else "stated",
        "memory_gb": _memory(network, counts, training["batch_size"] * length) / 1e9,
        "disk_gb": len(cells) * FLOAT_BYTES * (counts.stored + counts.task_head) / 1e9,
    }


@cache
def _network(model: str, task: str) -> Network:
    data = config.load_task_config(task)
    spec = ModelSpec.from_config(config.load_model_config(model))
    found = skeleton(spec, kind=data["kind"], num_labels=data.get("num_labels", 1))
    return Network(
        parameters=found.num_parameters(),
        width=found.config.hidden_size,
        layers=found.config.num_hidden_layers,
        vocabulary=found.config.vocab_size if data["kind"] == "generation" else 0,
        dtype_bytes=spec.torch_dtype.itemsize,
    )


def _manifest(cell: Cell) -> Path:
    return cell.path(grid.DATA) / "manifest.json"


def _training_rows(cell: Cell, resolved: Resolved) -> int:
    """Rows of the prepared split, else as the task's file has them; 0 where steps are given."""
    if _manifest(cell).exists():
        return int(read_json(_manifest(cell))["splits"]["train"]["rows"])
    rows = Task.from_config(cell.task, resolved.task).training_rows
    if rows is None and resolved.settings["training"]["steps"] is None:
        raise UserError(
            f"task {cell.task}: the number of its training rows is not known yet; "
            f"run `snakemake {cell.path(grid.DATA) / 'manifest.json'}` first"
        )
    return rows or 0


def _length(cell: Cell, resolved: Resolved) -> int:
    """Tokens of a training row: the median, or at most so many."""
    if _manifest(cell).exists():
        return round(read_json(_manifest(cell))["splits"]["train"]["tokens"]["median"])
    return int(resolved.settings["training"]["max_length"])


def _measured_speed(cells: list[Cell]) -> float | None:
    """Median tokens a second of the cells that have run."""
    timings = [cell.folder / "timing.json" for cell in cells]
    speeds = [read_json(path)["tokens_per_second"] for path in timings if path.exists()]
    return median(speeds) if speeds and None not in speeds else None


def _memory(network: Network, counts: Counts, tokens: int) -> float:
    """Bytes of weights, trained numbers with gradient and moments, and kept activations."""
    trained = counts.trainable_with_task_head
    number = network.dtype_bytes if counts.whole_model else FLOAT_BYTES
    copies = 1 if counts.whole_model else 2  # an adapter's values come on top of the base's
    numbers = copies * trained + counts.optimizer_state
    weights = network.parameters * network.dtype_bytes + number * numbers
    activations = ACTIVATION_BYTES * network.dtype_bytes / 2 * network.width * network.layers
    logits = 2 * FLOAT_BYTES * network.vocabulary  # and their gradient, in float32
    return weights + tokens * (activations + logits)


def _shared_bytes(study: str) -> int:
    """Bytes of the gradients, once a seed and number of samples, and of the factors."""
    folders = {
        (need, cell.model, cell.task, str(_start_folder(need, cell)))
        for cell in grid.final_cells(study)
        for need in _with_gradient(variant_method(cell.variant).needs)
    }
    total = 0
    for need, model, task, _ in folders:
        shapes, _, _ = adapted_shapes(model, task)
        rank = grid.largest_rank(study)
        factors = sum(rank * (m + n + 1) for m, n in shapes.values())
        gradient = sum(m * n for m, n in shapes.values())
        numbers = {"gradient": gradient, "gradient_factors": factors, "weight_factors": factors}
        total += FLOAT_BYTES * numbers[need]
    return total


def _start_folder(need: str, cell: Cell) -> Path:
    """Where what a method needs lies; cells with the same folder share it."""
    if need == "weight_factors":
        return cell.path(grid.WEIGHT_FACTORS)
    return gradient_path(cell, grid.GRADIENT if need == "gradient" else grid.GRADIENT_FACTORS)


def _with_gradient(needs: frozenset[str]) -> frozenset[str]:
    """What a method needs, and what that is made from."""
    return needs | {"gradient"} if "gradient_factors" in needs else needs
