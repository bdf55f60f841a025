"""The base model of a task or a cell, and what its method is told."""

from __future__ import annotations

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from lorasb.methods.method import Context
from lorasb.models.load import load_model, load_tokenizer
from lorasb.seeding import generator
from lorasb.study.cells import Cell
from lorasb.study.paths import STARTS
from lorasb.study.study import Resolved, Study
from lorasb.training.schedule import start_learning_rate


def device() -> torch.device:
    """The GPU, or the CPU where there is none."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def load_base(resolved: Resolved, seed: int) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """The base model with the task head of a seed, and its tokenizer."""
    network = load_model(
        resolved.model,
        kind=resolved.task.kind,
        num_labels=resolved.task.num_labels,
        generator=generator(seed, "head"),
    )
    return network.to(device()), load_tokenizer(resolved.model)


def context(study: Study, cell: Cell, rows: int) -> Context:
    """What the cell's method is told; `rows` is the number of training rows."""
    settings, model = study.settings(cell.task), study.models[cell.model]
    rate = float(cell.lr)
    return Context(
        rank=cell.rank,
        # a method that trains nothing has rate 0
        start_learning_rate=start_learning_rate(settings, rate, rows) if rate else 0.0,
        svd=settings["factors"]["svd"],
        seed=cell.seed,
        target_modules=list(model.target_modules),
        task_head=model.head_modules(study.tasks[cell.task].kind),
        inputs={need: study.start_file(cell, need) for need in STARTS},
    )
