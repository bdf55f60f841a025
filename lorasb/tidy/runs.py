"""One row a cell: its score, its counts, its costs; or why it failed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from lorasb.errors import UserError, remake
from lorasb.files import read_jsonl, read_record
from lorasb.methods.counts import Counts
from lorasb.methods.method import NEEDS_GRADIENT, NEEDS_SAMPLES
from lorasb.provenance import other_versions
from lorasb.study.cells import Cell
from lorasb.study.counts import cell_counts
from lorasb.study.study import Study
from lorasb.tidy.tables import failure

PROVENANCE = "provenance.json"
NO_COST = {"seconds": 0.0, "peak_memory_bytes": 0}
LOSS_KEYS = ("model", "task", "variant", "rank", "seed")


def run_row(study: Study, cell: Cell, scores: Mapping[tuple[Any, ...], float]) -> dict[str, Any]:
    """One row of `runs`: the cell, its primary score, its costs; or why it failed.

    `scores` are those of `whole_scores`.
    """
    variant, metric = study.variants[cell.variant], study.tasks[cell.task].primary
    reason = failure(cell)
    row: dict[str, Any] = {
        "study": cell.study,
        **cell.columns,
        "method": variant.method_name,
        "arguments": json.dumps(variant.arguments, sort_keys=True),
        "samples": _samples(study, cell),
        "status": "ok" if reason is None else "failed",
        "reason": reason or "",
        "metric": metric,
        "score": scores.get((*cell.columns.values(), metric)),
    }
    number = variant.method.bytes_a_number(study.models[cell.model].torch_dtype.itemsize)
    counts = _count_columns(cell_counts(study, cell), number)
    if reason is not None:
        return row | counts
    packages = read_record(cell.folder / PROVENANCE, "packages")["packages"]
    return row | counts | _cost_columns(study, cell) | {"other_versions": other_versions(packages)}


def losses(cells: list[Cell]) -> pd.DataFrame:
    """One row a cell and step: loss, learning rate, norm of the gradient."""
    return pd.DataFrame(
        [
            {name: getattr(cell, name) for name in LOSS_KEYS} | entry
            for cell in cells
            for entry in read_log(cell.folder / "train.jsonl")
        ],
        columns=[*LOSS_KEYS, "step", "loss", "learning_rate", "grad_norm"],
    )


def read_log(path: Path) -> list[dict[str, float]]:
    """The log of a run: a line a step, from the first on.

    Raises
    ------
    UserError
        If the file is missing or damaged, or a step is.
    """
    log = read_jsonl(path)
    for step, entry in enumerate(log, start=1):
        if entry.get("step") != step:
            raise UserError(f"{path}, line {step}: not step {step}; {remake(path)}")
    return log


def cost_files(study: Study, cell: Cell) -> list[Path]:
    """The files that say what a cell cost, those of its start included, and where it comes from."""
    return [
        *(cell.folder / name for name in ("timing.json", "predict_timing.json", PROVENANCE)),
        *(start.with_suffix(".json") for start in study.start_files(cell)),
    ]


def _samples(study: Study, cell: Cell) -> int | None:
    """Training samples of what the cell starts from."""
    if not study.variants[cell.variant].method.needs & NEEDS_SAMPLES:
        return None
    return study.samples(cell.task, cell.variant)


def _count_columns(counts: Counts, number: int) -> dict[str, Any]:
    """Counts, and bytes of so many a number."""
    return {
        "trainable_parameters": counts.trainable,
        "task_head_parameters": counts.task_head,
        "stored_parameters": counts.stored,
        "stored_bytes": number * (counts.stored + counts.task_head),
        "served_parameters": counts.served,
        "optimizer_state_bytes": number * counts.optimizer_state,
    }


def _cost_columns(study: Study, cell: Cell) -> dict[str, Any]:
    training = ("train_seconds", "peak_memory_bytes", "tokens_per_second")
    timing = read_record(cell.folder / "timing.json", *training)
    needs = study.variants[cell.variant].method.needs
    starts = {need: _start_cost(study.start_file(cell, need)) for need in _starts(needs)}
    # passes over samples; none of a gradient in activations
    passes = [starts.pop(need, NO_COST) for need in ("gradient", "activations")]
    return {
        "gradient_seconds": sum(cost["seconds"] for cost in passes),
        "factorize_seconds": sum((cost["seconds"] for cost in starts.values()), 0.0),
        "start_peak_memory_bytes": max(
            cost["peak_memory_bytes"] for cost in (*passes, *starts.values())
        ),
        "train_seconds": timing["train_seconds"],
        "predict_seconds": _seconds(cell.folder / "predict_timing.json"),
        "peak_memory_bytes": timing["peak_memory_bytes"],
        "tokens_per_second": timing["tokens_per_second"],
    }


def _seconds(path: Path) -> float:
    return float(read_record(path, "seconds")["seconds"])


def _starts(needs: frozenset[str]) -> frozenset[str]:
    """The files that a start was computed in, one after the other."""
    return needs | {"gradient"} if needs & NEEDS_GRADIENT else needs


def _start_cost(path: Path) -> dict[str, Any]:
    """What a file of a start cost, which the file of the same name beside it says."""
    return read_record(path.with_suffix(".json"), *NO_COST)
