"""Rule `plan`: what a study will cost before anyone spends it: cells, GPU hours, memory, disk.

Hours of training come from the throughput of this study's cells where some have run, else from
arithmetic and a stated speed: 6 operations a parameter and token for full fine-tuning, 4 for an
adapter, which needs no gradient of the frozen weights (Kaplan et al., arXiv 2001.08361). Lengths
are the prepared rows' medians, or the longest that the settings allow where nothing is prepared.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import pandas as pd

from lorasb.errors import UserError
from lorasb.files import read_record
from lorasb.methods.counts import Counts
from lorasb.models.load import skeleton
from lorasb.start.gradients import FLOAT32_BYTES
from lorasb.study.cells import Cell, Point
from lorasb.study.counts import adapted_shapes, cell_counts
from lorasb.study.paths import DATA
from lorasb.study.study import Resolved, Study
from lorasb.training.schedule import total_steps

TERAFLOPS = 150.0  # what one H100 or A100 keeps up in bfloat16, about; an option of the verb
# bytes that one layer keeps for backward, a token and unit of width, with 2-byte numbers and
# without the attention matrix (Korthikanti et al., arXiv 2205.05198, equation 2)
ACTIVATION_BYTES = 34
HOUR = 3600.0


@dataclass(frozen=True)
class Size:
    """What a plan needs to know of a base model."""

    parameters: int
    width: int
    layers: int
    vocabulary: int
    dtype_bytes: int


def plan(study: str, teraflops: float = TERAFLOPS) -> None:
    """Print the plan of a study's final cells as Markdown, with its totals in a line below."""
    sys.stdout.write(summary(Study.load(study), teraflops))


def summary(study: Study, teraflops: float = TERAFLOPS) -> str:
    """The text that `plan` prints."""
    table = planned(study, teraflops)
    disk = table["disk_gb"].sum() + _shared_bytes(study) / 1e9
    return (
        f"{table.to_markdown(index=False, floatfmt='.3g')}\n\n"
        f"{study.name}: {table['cells'].sum()} cells, {table['gpu_hours'].sum():.3g} GPU hours of "
        f"training at {teraflops:g} teraflops where none were measured, at most "
        f"{table['memory_gb'].max():.3g} GB of GPU memory, {disk:.3g} GB of disk with gradients "
        "and factors. Evaluation comes on top.\n"
    )


def planned(study: Study, teraflops: float = TERAFLOPS) -> pd.DataFrame:
    """One row a model, task, variant and rank of a study's final cells.

    Columns: `cells`; `steps` and `tokens` of one cell's training; `gpu_hours` of all its cells;
    `speed`, "measured" or "stated"; `memory_gb` of training on one GPU; `disk_gb` of what all its
    cells store.

    Raises
    ------
    UserError
        If the number of training rows is not known, and steps are given in epochs.
    """
    sizes = {pair: _size(study.resolved(*pair)) for pair in study.pairs}
    cells: dict[Point, list[Cell]] = {}
    for cell in study.cells:
        cells.setdefault(cell.point, []).append(cell)
    return pd.DataFrame(
        [
            _row(study, found, sizes[point.model, point.task], teraflops)
            for point, found in cells.items()
        ]
    )


def _row(study: Study, cells: list[Cell], size: Size, teraflops: float) -> dict[str, object]:
    cell = cells[0]
    resolved = study.resolved(cell.model, cell.task)
    counts, method = cell_counts(study, cell), study.variants[cell.variant].method
    number = method.bytes_a_number(size.dtype_bytes)
    steps, length = 0, _length(cell, resolved)
    if method.trains:
        steps = total_steps(resolved.settings, _training_rows(cell, resolved))
    training = resolved.settings["training"]
    sequences = training["batch_size"] * training["gradient_accumulation"]
    tokens = steps * sequences * length
    measured = _measured_speed(cells)
    operations = (6 if counts.whole_model else 4) * size.parameters
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
        "memory_gb": _memory(size, counts, number, training["batch_size"] * length) / 1e9,
        "disk_gb": len(cells) * number * (counts.stored + counts.task_head) / 1e9,
    }


def _size(resolved: Resolved) -> Size:
    task = resolved.task
    found = skeleton(resolved.model, kind=task.kind, num_labels=task.num_labels)
    return Size(
        parameters=found.num_parameters(),
        width=found.config.hidden_size,
        layers=found.config.num_hidden_layers,
        vocabulary=found.config.vocab_size if task.kind == "generation" else 0,
        dtype_bytes=resolved.model.torch_dtype.itemsize,
    )


def _manifest(cell: Cell) -> Path:
    return cell.path(DATA) / "manifest.json"


def _training_split(cell: Cell) -> dict[str, Any]:
    split: dict[str, Any] = read_record(_manifest(cell), "splits")["splits"]["train"]
    return split


def _training_rows(cell: Cell, resolved: Resolved) -> int:
    """Rows of the prepared split, else as the task's file has them; 0 where steps are given."""
    if _manifest(cell).exists():
        return int(_training_split(cell)["rows"])
    rows = resolved.task.training_rows
    if rows is None and resolved.settings["training"]["steps"] is None:
        raise UserError(
            f"task {cell.task}: the number of its training rows is not known yet; "
            f"run `snakemake {cell.path(DATA) / 'manifest.json'}` first"
        )
    return rows or 0


def _length(cell: Cell, resolved: Resolved) -> int:
    """Tokens of a training row: the median, or at most so many."""
    if _manifest(cell).exists():
        return round(_training_split(cell)["tokens"]["median"])
    return int(resolved.settings["training"]["max_length"])


def _measured_speed(cells: list[Cell]) -> float | None:
    """Median tokens a second of the cells that have run."""
    timings = [cell.folder / "timing.json" for cell in cells]
    speeds = [
        read_record(path, "tokens_per_second")["tokens_per_second"]
        for path in timings
        if path.exists()
    ]
    return median(speeds) if speeds and None not in speeds else None


def _memory(size: Size, counts: Counts, number: int, tokens: int) -> float:
    """Bytes of weights, trained numbers with gradient and moments, and kept activations."""
    frozen = 0 if counts.whole_model and counts.trainable else size.parameters * size.dtype_bytes
    trained = number * (2 * counts.trainable_with_task_head + counts.optimizer_state)
    weights = frozen + trained
    activations = ACTIVATION_BYTES * size.dtype_bytes / 2 * size.width * size.layers
    logits = 2 * FLOAT32_BYTES * size.vocabulary  # and their gradient, in float32
    return weights + tokens * (activations + logits)


def _shared_bytes(study: Study) -> int:
    """Bytes of the gradients, once a seed and number of samples, and of the factors."""
    files = {
        (need, cell.model, cell.task, study.start_file(cell, need))
        for cell in study.cells
        for need in _with_gradient(study.variants[cell.variant].method.needs)
    }
    total = 0
    for need, model, task, _ in files:
        shapes, _, _ = adapted_shapes(study, model, task)
        factors = sum(study.largest_rank * (m + n + 1) for m, n in shapes.values())
        gradient = sum(m * n for m, n in shapes.values())
        numbers = {"gradient": gradient, "gradient_factors": factors, "weight_factors": factors}
        total += FLOAT32_BYTES * numbers[need]
    return total


def _with_gradient(needs: frozenset[str]) -> frozenset[str]:
    """What a method needs, and what that is made from."""
    return needs | {"gradient"} if "gradient_factors" in needs else needs
