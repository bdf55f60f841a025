"""Rules `train` and `train_and_predict`."""

from __future__ import annotations

import fcntl
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from lorasb import grid
from lorasb.config import read as config
from lorasb.errors import UserError
from lorasb.evaluation.score import primary_value
from lorasb.files import atomic, write_json, write_jsonl
from lorasb.grid import Cell
from lorasb.machine import peak_bytes
from lorasb.methods.method import Method
from lorasb.methods.registry import variant_method
from lorasb.provenance import provenance
from lorasb.resolve import Resolved, cell_hash, resolve
from lorasb.seeding import derive_seed, generator
from lorasb.stages.predict import predict_split, split_path, write_files, write_predictions
from lorasb.tasks.collate import Collator
from lorasb.tasks.prepare import read_split
from lorasb.tasks.task import Task
from lorasb.training.epochs import EpochPredictions
from lorasb.training.loop import train
from lorasb.training.order import batch_order
from lorasb.training.run import Clock, Outcome, Plan
from lorasb.training.schedule import epoch_steps, snapshot_steps, total_steps
from lorasb.training.setup import context, device, load_base


def train_cell(cell: Cell, expected_hash: str | None = None) -> None:
    """One run, from the base model to its files."""
    found = cell_hash(cell)
    if expected_hash not in (None, found):
        raise UserError(
            f"{cell.folder}: its settings changed since the workflow planned it "
            f"(hash {found}, expected {expected_hash}); start snakemake again"
        )
    failure = cell.folder / "failed.json"
    with _exclusive(cell.folder):
        try:
            _train_cell(cell)
        except Exception as error:
            write_json(failure, {"reason": f"{error or type(error).__name__}"})
            raise
        failure.unlink(missing_ok=True)
        shutil.rmtree(cell.folder / "checkpoints", ignore_errors=True)


def _train_cell(cell: Cell) -> None:
    resolved = resolve(cell.study, cell.model, cell.task)
    rows = read_split(cell.path(grid.DATA) / "train.parquet").to_list()
    network, tokenizer = load_base(resolved, cell.seed)
    method = variant_method(cell.variant)
    started = time.perf_counter()
    model = method.attach(network, context(cell, resolved, len(rows))).to(device())
    attach_seconds = time.perf_counter() - started
    plan = _plan(cell, resolved, rows)
    clock = Clock()
    epochs = EpochPredictions(
        epoch_steps(resolved.settings, len(rows)),
        plan.checkpoints,
        lambda network: predict_split(network, tokenizer, resolved, cell),
        clock.paused,
    )
    best = method.trains and resolved.settings["prediction"]["epoch"] == "best"
    callbacks = [epochs] if best else []
    collate = Collator(tokenizer)
    outcome = train(model, method, rows, collate, plan, callbacks=callbacks, clock=clock)
    _write_cell(cell, resolved, method, model, outcome)
    tokens = sum(len(rows[index]["input_ids"]) for index in plan.order) if outcome.log else 0
    write_json(
        cell.folder / "timing.json",
        {
            "attach_seconds": attach_seconds,
            "train_seconds": outcome.seconds,
            "tokens_per_second": tokens / outcome.seconds if tokens else None,
            "peak_memory_bytes": peak_bytes(),
        },
    )
    if best:
        task = Task.from_config(cell.task, resolved.task)
        write_files(cell, *epochs.best(lambda rows: primary_value(task, rows, split_path(cell))))
    elif resolved.settings["prediction"]["with_training"]:
        write_predictions(model, tokenizer, resolved, cell)


def _plan(
    cell: Cell,
    resolved: Resolved,
    rows: list[dict[str, Any]],
) -> Plan:
    settings = resolved.settings["training"]
    steps = total_steps(resolved.settings, len(rows))
    order = batch_order(
        [len(row["input_ids"]) for row in rows],
        steps * settings["gradient_accumulation"],
        settings["batch_size"],
        generator(cell.seed, "data"),
        group_by_length=settings["group_by_length"],
    )
    # nothing reads those of a sweep
    points = 0 if cell.split == "selection" else resolved.settings["probe"]["points"]
    return Plan(
        settings=settings,
        steps=steps,
        learning_rate=float(cell.lr),
        seed=derive_seed(cell.seed, "training"),
        order=order,
        snapshot_steps=snapshot_steps(points, steps),
        # those of a run with other settings are not continued
        checkpoints=cell.folder / "checkpoints" / cell_hash(cell),
    )


def _write_cell(
    cell: Cell, resolved: Resolved, method: Method, model: torch.nn.Module, outcome: Outcome
) -> None:
    folder = cell.folder
    with atomic(folder / "snapshots.safetensors") as partial:
        save_file(outcome.snapshots, partial)
    write_jsonl(folder / "train.jsonl", outcome.log)
    write_json(
        folder / "config.json",
        {"cell": vars(cell), "variant": config.load_variant(cell.variant)} | vars(resolved),
    )
    write_json(folder / "provenance.json", provenance() | {"cell_hash": cell_hash(cell)})
    partial = folder / ".adapter.partial"
    shutil.rmtree(partial, ignore_errors=True)
    method.save(model, partial)
    shutil.rmtree(folder / "adapter", ignore_errors=True)
    partial.rename(folder / "adapter")


@contextmanager
def _exclusive(folder: Path) -> Iterator[None]:
    """Hold the folder's lock: a process left over from a killed workflow may still be writing."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            sys.stderr.write(f"{folder}: another process is training this cell; waiting\n")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield
