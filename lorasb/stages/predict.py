"""Rule `predict`, and the second half of `train_and_predict`."""

from __future__ import annotations

import torch
from transformers import PreTrainedTokenizerBase

from lorasb.errors import UserError
from lorasb.evaluation import predict as evaluation
from lorasb.files import write_json, write_jsonl
from lorasb.machine import measured
from lorasb.records import Inputs, alone, write_record
from lorasb.seeding import generator
from lorasb.study.cells import Cell
from lorasb.study.paths import FAILED
from lorasb.study.study import Resolved, Study
from lorasb.tasks.prepare import read_split
from lorasb.tasks.task import Row
from lorasb.training.run import failure_noted
from lorasb.training.setup import device, load_base, note_settings


def predict(cell: Cell) -> None:
    """Predict with a trained cell; write its predictions on its split."""
    study = Study.load(cell.study)
    resolved = study.resolved(cell.model, cell.task)
    if resolved.settings["prediction"]["epoch"] == "best":
        raise UserError(
            f"{cell.folder}: prediction.epoch: best predicts along training; use the verb 'train'"
        )
    with alone(cell.folder / "predict.record.json") as made, failure_noted(cell.path(FAILED)):
        inputs = Inputs()
        note_settings(inputs, study, cell)
        adapter = inputs.file(cell.folder / "adapter")
        network, tokenizer = load_base(resolved, cell.seed, inputs)
        if made(inputs):
            return
        trained = study.variants[cell.variant].method.load(network, adapter).to(device())
        found = predict_split(trained, tokenizer, resolved, cell, inputs)
        write_predictions(cell, *found, inputs)


def predict_split(
    model: torch.nn.Module,
    tokenizer: PreTrainedTokenizerBase,
    resolved: Resolved,
    cell: Cell,
    inputs: Inputs,
) -> tuple[list[Row], dict[str, float]]:
    """The predictions of a model on the cell's split, which is among `inputs`, and their cost."""
    split = read_split(inputs.file(cell.split_path))
    settings = resolved.settings["prediction"]
    with measured() as cost:
        predictions = evaluation.predict(
            model,
            tokenizer,
            resolved.task,
            split,
            batch_size=settings["batch_size"],
            generator=generator(cell.seed, "sampling"),
            # the best epoch is that with the best replies
            replies=settings["epoch"] == "best" or resolved.task.asks_replies(cell.split),
        )
    return predictions, cost


def write_predictions(
    cell: Cell, predictions: list[Row], cost: dict[str, float], inputs: Inputs
) -> None:
    """Write the two files of a cell's predictions, and their record."""
    files = cell.folder / "predictions.jsonl", cell.folder / "predict_timing.json"
    write_jsonl(files[0], predictions)
    write_json(files[1], cost)
    write_record(cell.folder / "predict.record.json", files, inputs)
