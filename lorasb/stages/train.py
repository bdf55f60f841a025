"""Rules `train` and `train_and_predict`."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from safetensors.torch import save_file

from lorasb.errors import UserError
from lorasb.evaluation.score import primary_value
from lorasb.files import atomic, atomic_folder, write_json, write_jsonl
from lorasb.machine import peak_bytes
from lorasb.methods.method import Network
from lorasb.provenance import provenance
from lorasb.records import Inputs, alone, write_record
from lorasb.seeding import derive_seed, generator
from lorasb.stages.predict import predict_split, write_predictions
from lorasb.study import hashes
from lorasb.study.cells import Cell
from lorasb.study.paths import DATA, FAILED
from lorasb.study.study import Resolved, Study
from lorasb.tasks.collate import Collator
from lorasb.tasks.prepare import read_split
from lorasb.training import loop
from lorasb.training.epochs import EpochPredictions
from lorasb.training.order import batch_order
from lorasb.training.run import Clock, Outcome, Plan, failure_noted
from lorasb.training.schedule import epoch_steps, snapshot_steps, total_steps
from lorasb.training.setup import (
    context,
    device,
    load_base,
    note_settings,
    note_start,
    refuse_uncounted,
)

# what a cell's record is of
WRITTEN = (
    *("adapter", "config.json", "provenance.json"),
    *("snapshots.safetensors", "timing.json", "train.jsonl"),
)


def train(cell: Cell, cell_hash: str | None = None) -> None:
    """One run, from the base model to its files.

    Raises
    ------
    UserError
        If `cell_hash` is given and the present settings have another one.
    """
    study = Study.load(cell.study)
    found = hashes.cell_hash(study, cell)
    if cell_hash not in (None, found):
        raise UserError(
            f"{cell.folder}: its settings changed since the workflow planned it "
            f"(hash {found}, expected {cell_hash}); start snakemake again"
        )
    predicts = study.settings(cell.task)["prediction"]["with_training"]
    names = ["train.record.json", *["predict.record.json"] * predicts]
    with alone(*(cell.folder / name for name in names)) as made:
        with failure_noted(cell.path(FAILED)):
            _train(study, cell, found, made)
        shutil.rmtree(cell.folder / "checkpoints", ignore_errors=True)


def _train(study: Study, cell: Cell, cell_hash: str, made: Callable[[Inputs], bool]) -> None:
    resolved, method = study.resolved(cell.model, cell.task), study.variants[cell.variant].method
    inputs = Inputs()
    note_start(inputs, study, cell)
    note_settings(inputs, study, cell)
    rows = read_split(cell.path(DATA) / "train.parquet").to_list()
    network, tokenizer = load_base(resolved, cell.seed, inputs)
    if made(inputs):
        return
    started = time.perf_counter()
    model = method.attach(network, context(study, cell, len(rows))).to(device())
    attach_seconds = time.perf_counter() - started
    refuse_uncounted(study, cell, model)
    plan = _plan(study, cell, rows, _checkpoints(cell, inputs))
    clock = Clock()
    epochs = EpochPredictions(
        epoch_steps(resolved.settings, len(rows)),
        plan.checkpoints,
        lambda network: predict_split(network, tokenizer, resolved, cell, inputs),
        clock.paused,
    )
    best = method.trains and resolved.settings["prediction"]["epoch"] == "best"
    callbacks = [epochs] if best else []
    collate = Collator(tokenizer)
    outcome = loop.train(model, method, rows, collate, plan, callbacks=callbacks, clock=clock)
    _write_cell(study, cell, model, outcome)
    write_json(cell.folder / "provenance.json", provenance() | {"cell_hash": cell_hash})
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
    write_record(
        cell.folder / "train.record.json", (cell.folder / name for name in WRITTEN), inputs
    )
    if best:
        found = epochs.best(lambda rows: primary_value(resolved.task, rows, cell.split_path))
        write_predictions(cell, *found, inputs)
    elif resolved.settings["prediction"]["with_training"]:
        write_predictions(cell, *predict_split(model, tokenizer, resolved, cell, inputs), inputs)


def _checkpoints(cell: Cell, inputs: Inputs) -> Path:
    """Where a run keeps them that starts from just these settings, rows and weights."""
    folder = cell.folder / "checkpoints"
    own = folder / inputs.digest[:12]
    if folder.exists() and set(folder.iterdir()) - {own}:
        sys.stderr.write(f"{folder}: those of other settings, rows or weights are not continued\n")
    return own


def _plan(study: Study, cell: Cell, rows: list[dict[str, Any]], checkpoints: Path) -> Plan:
    resolved = study.resolved(cell.model, cell.task)
    settings = resolved.settings
    training, steps = settings["training"], total_steps(settings, len(rows))
    order = batch_order(
        [len(row["input_ids"]) for row in rows],
        steps,
        training["batch_size"] * training["gradient_accumulation"],
        generator(cell.seed, "data"),
        group_by_length=training["group_by_length"],
    )
    # nothing reads those of a sweep
    points = 0 if cell.split == "selection" else settings["probe"]["points"]
    return Plan(
        settings=training,
        steps=steps,
        learning_rate=float(cell.lr),
        seed=derive_seed(cell.seed, "training"),
        order=order,
        snapshot_steps=snapshot_steps(points, steps),
        checkpoints=checkpoints,
        rates=_head_rates(resolved),
    )


def _head_rates(resolved: Resolved) -> dict[str, float]:
    """The learning rate of each module of the task head, where it is not that of all else."""
    rate = resolved.settings["training"]["head_learning_rate"]
    return {} if rate is None else dict.fromkeys(resolved.task_head, float(rate))


def _write_cell(study: Study, cell: Cell, model: Network, outcome: Outcome) -> None:
    folder, variant = cell.folder, study.variants[cell.variant]
    with atomic(folder / "snapshots.safetensors") as partial:
        save_file(outcome.snapshots, partial)
    write_jsonl(folder / "train.jsonl", outcome.log)
    write_json(
        folder / "config.json",
        {
            "cell": asdict(cell),
            "variant": variant.description,
            "model": asdict(study.models[cell.model]),
            "task": study.task_data[cell.task],
            "settings": study.settings(cell.task),
        },
    )
    with atomic_folder(folder / "adapter") as partial:
        variant.method.save(model, partial)
