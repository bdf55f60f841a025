"""Rule `predict`, and the second half of `train_and_predict`."""

from __future__ import annotations

import torch
from transformers import PreTrainedTokenizerBase

from lorasb.errors import UserError
from lorasb.evaluation import predict as evaluation
from lorasb.files import write_json, write_jsonl
from lorasb.machine import measured
from lorasb.seeding import generator
from lorasb.study.cells import Cell
from lorasb.study.study import Resolved, Study
from lorasb.tasks.prepare import read_split
from lorasb.tasks.task import Row
from lorasb.training.setup import device, load_base


def predict(cell: Cell) -> None:
    """Predict with a trained cell; write its predictions on its split."""
    study = Study.load(cell.study)
    resolved = study.resolved(cell.model, cell.task)
    if resolved.settings["prediction"]["epoch"] == "best":
        raise UserError(
            f"{cell.folder}: prediction.epoch: best predicts along training; use the verb 'train'"
        )
    network, tokenizer = load_base(resolved, cell.seed)
    trained = study.variants[cell.variant].method.load(network, cell.folder / "adapter")
    write_predictions(cell, *predict_split(trained.to(device()), tokenizer, resolved, cell))


def predict_split(
    model: torch.nn.Module, tokenizer: PreTrainedTokenizerBase, resolved: Resolved, cell: Cell
) -> tuple[list[Row], dict[str, float]]:
    """The predictions of a model on the cell's split, and what they cost."""
    split = read_split(cell.split_path)
    with measured() as cost:
        predictions = evaluation.predict(
            model,
            tokenizer,
            resolved.task,
            split,
            batch_size=resolved.settings["prediction"]["batch_size"],
            generator=generator(cell.seed, "sampling"),
        )
    return predictions, cost


def write_predictions(cell: Cell, predictions: list[Row], cost: dict[str, float]) -> None:
    """Write the two files of a cell's predictions."""
    write_jsonl(cell.folder / "predictions.jsonl", predictions)
    write_json(cell.folder / "predict_timing.json", cost)
