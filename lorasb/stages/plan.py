"""Rule `plan`: what a study will cost before anyone spends it: cells, GPU hours, memory, disk.

Memory is by the closed forms of `lorasb.study.memory`, as what jobs ask a cluster for.

Hours of training come from the throughput of this study's cells where some have run, else from
arithmetic and a stated speed: 6 operations a parameter and token for full fine-tuning, 4 for an
adapter, which needs no gradient of the frozen weights (Kaplan et al., arXiv 2001.08361). Lengths
are the prepared rows' medians, or the longest that the settings allow where nothing is prepared.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import pandas as pd

from lorasb.errors import UserError
from lorasb.files import read_record
from lorasb.study import memory
from lorasb.study.cells import Cell, Point
from lorasb.study.counts import cell_counts
from lorasb.study.memory import Memory
from lorasb.study.paths import DATA
from lorasb.study.study import Resolved, Study
from lorasb.training.schedule import snapshot_steps, total_steps

TERAFLOPS = 150.0  # what one H100 or A100 keeps up in bfloat16, about; an option of the verb
HOUR = 3600.0
# two are kept, and a third is there while it is written
CHECKPOINTS = 3
# what a method may need -> the rule that makes it
MAKERS = {
    "gradient": "estimate_gradient",
    "activations": "estimate_activations",
    "gradient_factors": "factorize_gradient",
    "weight_factors": "factorize_weights",
}


def plan(study: str, teraflops: float = TERAFLOPS) -> None:
    """Print the plan of a study's final cells as Markdown, with its totals in lines below."""
    sys.stdout.write(summary(Study.load(study), teraflops))


def summary(study: Study, teraflops: float = TERAFLOPS) -> str:
    """The text that `plan` prints."""
    table, rules = planned(study, teraflops), by_rule(study)
    stored = table["disk_gb"].sum() + rules["disk_gb"].sum()
    return (
        f"{_printed(table)}\n\n{_printed(rules)}\n\n"
        f"{study.name}: {table['cells'].sum()} cells, {table['gpu_hours'].sum():.3g} GPU hours of "
        f"training at {teraflops:g} teraflops where none were measured, at most "
        f"{rules['gpu_gb'].max():.3g} GB of GPU memory and {rules['host_gb'].max():.3g} GB of the "
        f"host's beside it. {stored:.3g} GB of disk, {_downloads(study) / 1e9:.3g} GB for "
        f"downloaded weights, up to {table['checkpoint_gb'].max():.3g} GB for the checkpoints of "
        "each cell that runs; downloaded rows come on top. Without a GPU the host needs the sum of "
        "both memories.\n"
    )


def planned(study: Study, teraflops: float = TERAFLOPS) -> pd.DataFrame:
    """One row a model, task, variant and rank of a study's final cells.

    Columns: `cells`; `steps` and `tokens` of one cell's training; `gpu_hours` of all its cells;
    `speed`, "measured" or "stated"; `memory_gb` of one GPU and `host_gb` beside it, the most from
    the making of its start to its predictions; `disk_gb` of what all its cells store, and
    `checkpoint_gb` that one cell needs while it runs.

    Raises
    ------
    UserError
        If the number of training rows is not known, and steps are given in epochs.
    """
    cells: dict[Point, list[Cell]] = {}
    for cell in study.cells:
        cells.setdefault(cell.point, []).append(cell)
    return pd.DataFrame([_row(study, found, teraflops) for found in cells.values()])


def by_rule(study: Study) -> pd.DataFrame:
    """One row a rule that reads a model or all rows of a task, with the most that a job needs.

    Columns: `rule`; `gpu_gb` and, beside it, `host_gb`; `disk_gb` of what all its jobs store, but
    for the cells'.
    """
    disk = _shared_bytes(study)
    return pd.DataFrame(
        [
            {
                "rule": rule,
                "gpu_gb": max(need.device for need in needs) / 1e9,
                "host_gb": max(need.of_host(gpu=True) for need in needs) / 1e9,
                "disk_gb": disk[rule] / 1e9,
            }
            for rule, needs in _needs(study).items()
        ]
    )


def _needs(study: Study) -> dict[str, list[Memory]]:
    """What each job of the study needs, by its rule."""
    needed = {MAKERS[n] for v in study.variants.values() for n in _with_gradient(v.method.needs)}
    pairs = list(study.pairs)
    starts: dict[str, tuple[Callable[..., Memory], list[Any]]] = {
        "estimate_gradient": (memory.estimate_gradient, pairs),
        "estimate_activations": (memory.estimate_activations, pairs),
        "factorize_gradient": (memory.factorize_gradient, pairs),
        "factorize_weights": (memory.factorize_weights, [(model,) for model in study.models]),
    }
    return {
        "prepare_task": [memory.prepare_task(study, *pair) for pair in pairs],
        **{
            rule: [form(study, *names) for names in jobs]
            for rule, (form, jobs) in starts.items()
            if rule in needed
        },
        "train": [memory.train(study, cell) for cell in study.cells],
        "predict": [memory.predict(study, cell) for cell in study.cells],
        "probe_directions": [memory.probe_directions(study, *pair) for pair in pairs],
        "measure_spectra": [memory.measure_spectra(study, *pair) for pair in pairs],
    }


def _row(study: Study, cells: list[Cell], teraflops: float) -> dict[str, object]:
    cell = cells[0]
    resolved = study.resolved(cell.model, cell.task)
    counts, method = cell_counts(study, cell), study.variants[cell.variant].method
    size = memory.size(study, cell.model, cell.task)
    number = method.bytes_a_number(size.bytes)
    steps, length = 0, _length(cell, resolved)
    if method.trains:
        steps = total_steps(resolved.settings, _training_rows(cell, resolved))
    training = resolved.settings["training"]
    sequences = training["batch_size"] * training["gradient_accumulation"]
    tokens = steps * sequences * length
    measured = _measured_speed(cells)
    operations = (6 if counts.whole_model else 4) * size.parameters
    speed = measured or teraflops * 1e12 / operations
    need = memory.cell_and_start(study, cell)
    kept = len(snapshot_steps(resolved.settings["probe"]["points"], steps)) if steps else 0
    trained = counts.trainable_with_task_head
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
        "memory_gb": need.device / 1e9,
        "host_gb": need.of_host(gpu=True) / 1e9,
        "disk_gb": len(cells) * number * (counts.stored + counts.task_head + kept * trained) / 1e9,
        "checkpoint_gb": CHECKPOINTS * number * (trained + counts.optimizer_state) / 1e9,
    }


def _printed(table: pd.DataFrame) -> str:
    return table.to_markdown(index=False, floatfmt=".3g")


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


def _shared_bytes(study: Study) -> Counter[str]:
    """Bytes of the files of starts, once a seed and number of samples, by rule."""
    files = {
        (need, cell.model, cell.task, study.start_file(cell, need))
        for cell in study.cells
        for need in _with_gradient(study.variants[cell.variant].method.needs)
    }
    total: Counter[str] = Counter()
    for need, model, task, _ in files:
        total[MAKERS[need]] += memory.starts(study, need, model, task)
    return total


def _with_gradient(needs: frozenset[str]) -> frozenset[str]:
    """What a method needs, and what that is made from."""
    return needs | {"gradient"} if "gradient_factors" in needs else needs


def _downloads(study: Study) -> float:
    """Bytes of the weights that come from the hub."""
    task = next(iter(study.tasks))
    return sum(
        memory.size(study, name, task).weights
        for name, model in study.models.items()
        if model.hub_id is not None
    )
