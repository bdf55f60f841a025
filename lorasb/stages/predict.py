"""Rule `predict`, and the second half of `train_and_predict`."""

from __future__ import annotations

from pathlib import Path

import torch
from transformers import PreTrainedTokenizerBase

from lorasb import grid
from lorasb.errors import UserError
from lorasb.evaluation.predict import predict
from lorasb.files import write_json, write_jsonl
from lorasb.grid import Cell
from lorasb.machine import measured
from lorasb.methods.registry import variant_method
from lorasb.resolve import Resolved, resolve
from lorasb.seeding import generator
from lorasb.tasks.prepare import read_split
from lorasb.tasks.task import Row, Task
from lorasb.training.setup import device, load_base


def predict_cell(cell: Cell) -> None:
    """Predict with a trained cell; write its predictions on its split."""
    resolved = resolve(cell.study, cell.model, cell.task)
    if resolved.settings["prediction"]["epoch"] == "best":
        raise UserError(
            f"{cell.folder}: prediction.epoch: best predicts along training; use the verb 'train'"
        )
    network, tokenizer = load_base(resolved, cell.seed)
    trained = variant_method(cell.variant).load(network, cell.folder / "adapter")
    write_predictions(trained.to(device()), tokenizer, resolved, cell)


def write_predictions(
    model: torch.nn.Module, tokenizer: PreTrainedTokenizerBase, resolved: Resolved, cell: Cell
) -> None:
    """Write the predictions of a model on the cell's split, and what they cost."""
    write_files(cell, *predict_split(model, tokenizer, resolved, cell))


def predict_split(
    model: torch.nn.Module, tokenizer: PreTrainedTokenizerBase, resolved: Resolved, cell: Cell
) -> tuple[list[Row], dict[str, float]]:
    """The predictions of a model on the cell's split, and what they cost."""
    task = Task.from_config(cell.task, resolved.task)
    split = read_split(split_path(cell))
    batch_size = resolved.settings["prediction"]["batch_size"]
    with measured() as cost:
        predictions = predict(
            model,
            tokenizer,
            task,
            split,
            batch_size=batch_size,
            generator=generator(cell.seed, "sampling"),
        )
    return predictions, cost


def write_files(cell: Cell, predictions: list[Row], cost: dict[str, float]) -> None:
    """Write the two files of a cell's predictions."""
    write_jsonl(cell.folder / "predictions.jsonl", predictions)
    write_json(cell.folder / "predict_timing.json", cost)


def split_path(cell: Cell) -> Path:
    """The prepared rows that the cell is scored on."""
    return cell.path(grid.DATA) / f"{cell.split}.parquet"
