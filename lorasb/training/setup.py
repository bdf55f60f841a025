"""The base model of a task or a cell, what a cell starts from, and what its method is told."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from lorasb.errors import UserError
from lorasb.machine import claim_gpu
from lorasb.methods.method import Context, Network
from lorasb.models.gguf_files import unpacked
from lorasb.models.load import load_model, load_tokenizer
from lorasb.models.spec import ModelSpec
from lorasb.models.weights import tokenizer_hash, weights_hash
from lorasb.records import Inputs
from lorasb.seeding import generator
from lorasb.study.cells import Cell
from lorasb.study.counts import cell_counts
from lorasb.study.hashes import cell_hash, data_hash
from lorasb.study.paths import DATA, STARTS
from lorasb.study.study import Resolved, Study
from lorasb.training.schedule import start_learning_rate, total_steps


def device() -> torch.device:
    """A GPU of this process alone, or the CPU where there is none."""
    claim_gpu()
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def load_base(
    resolved: Resolved, seed: int, inputs: Inputs | None = None
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """The base model with the task head of a seed, and its tokenizer; both are `inputs`."""
    place = device()  # refused before anything is read
    network = load_model(
        resolved.model,
        kind=resolved.task.kind,
        num_labels=resolved.task.num_labels,
        generator=generator(seed, "head"),
    )
    tokenizer = load_tokenizer(resolved.model)
    if inputs is not None:
        note_base(inputs, resolved.model)
        note_tokenizer(inputs, tokenizer)
    return network.to(place), tokenizer


def note_base(inputs: Inputs, model: ModelSpec) -> None:
    """The weights of a base model that has been loaded are among the inputs."""
    inputs.note(f"the base model {model.source}", weights_hash(unpacked(model)))


def note_tokenizer(inputs: Inputs, tokenizer: PreTrainedTokenizerBase) -> None:
    """A tokenizer that was just loaded is among the inputs."""
    inputs.note(f"the tokenizer {tokenizer.name_or_path}", tokenizer_hash(tokenizer))


def note_data(inputs: Inputs, study: Study, model: str, task: str) -> None:
    """The settings of the prepared rows are among the inputs."""
    folder = study.folder(DATA, model, task)
    inputs.note(f"the settings of {folder}", data_hash(study, model, task))


def note_settings(inputs: Inputs, study: Study, cell: Cell) -> None:
    """The settings that a cell is trained with, and those of its rows, are among the inputs."""
    note_data(inputs, study, cell.model, cell.task)
    inputs.note(f"the settings of {cell.folder}", cell_hash(study, cell))


def note_start(inputs: Inputs, study: Study, cell: Cell) -> None:
    """The training rows of a cell and the files that its method needs are among the inputs."""
    inputs.file(cell.path(DATA) / "train.parquet")
    for need in sorted(study.variants[cell.variant].method.needs):
        inputs.file(study.start_file(cell, need))


def start_samples(rows: Sequence[dict[str, Any]], samples: int, seed: int) -> list[dict[str, Any]]:
    """The training rows that a start is estimated from; more of a seed include the fewer ones."""
    chosen = torch.randperm(len(rows), generator=generator(seed, "gradient"))
    return [rows[index] for index in chosen[:samples].tolist()]


def context(study: Study, cell: Cell, rows: int) -> Context:
    """What the cell's method is told; `rows` is the number of training rows."""
    resolved = study.resolved(cell.model, cell.task)
    settings, rate = resolved.settings, float(cell.lr)
    return Context(
        rank=cell.rank,
        # a method that trains nothing has rate 0
        start_learning_rate=start_learning_rate(settings, rate, rows) if rate else 0.0,
        svd=settings["factors"]["svd"],
        seed=cell.seed,
        target_modules=resolved.model.target_modules,
        task_head=resolved.task_head,
        inputs={need: study.start_file(cell, need) for need in STARTS},
        steps=total_steps(settings, rows),
        samples=study.samples(cell.task, cell.variant),
    )


def refuse_uncounted(study: Study, cell: Cell, model: Network) -> None:
    """Refuse a cell's model that trains other numbers than its tables would count (UserError)."""
    if not study.variants[cell.variant].method.trains:
        return
    trained = sum(value.numel() for value in model.parameters() if value.requires_grad)
    counts = cell_counts(study, cell)
    if trained != counts.trainable_with_task_head:
        raise UserError(
            f"variants.{cell.variant}: it trains {trained - counts.task_head:,} numbers, and "
            f"{counts.trainable:,} are counted; mend its options, or its counts (config/README.md)"
        )
