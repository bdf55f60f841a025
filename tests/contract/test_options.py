"""Cells of the bundled model under settings that are not the default."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from transformers import TrainerCallback

from lorasb import grid
from lorasb.config.read import load_task_config
from lorasb.errors import UserError
from lorasb.evaluation.score import primary_value
from lorasb.files import read_json, read_jsonl
from lorasb.grid import Cell
from lorasb.methods.peft.method import PeftMethod
from lorasb.stages.predict import predict_cell
from lorasb.stages.prepare_task import prepare_task
from lorasb.stages.train import train_cell
from lorasb.tasks.task import Task

STUDY = """
description: two tasks, few steps
models: [quickstart-llama]
tasks: [arithmetic, sentences]
variants: {lora: {ranks: [4]}}
seeds: [0, 1]
learning_rates: {lora: "1e-3"}
settings:
  # whatever the number of steps, the first of them are the same
  training:
    {steps: 2, epochs: null, warmup_ratio: 0.0, scheduler: constant_with_warmup,
     group_by_length: false}
  probe: {points: 3}
  prediction: {batch_size: 32, with_training: true}
"""


def cell(task: str, seed: int = 0) -> Cell:
    return Cell("tiny", "quickstart-llama", task, "lora", 4, "1e-3", seed)


def study(root: Path, text: str = STUDY) -> None:
    (root / "config/studies/tiny.yaml").write_text(text, encoding="utf-8")


def replace(path: Path, old: str, new: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")


def test_sampled_answers_are_the_same_from_a_process_of_their_own(project):
    study(project)
    task = project / "config/tasks/arithmetic.yaml"
    replace(task, "splits:", "sampling: {temperature: 2.0, top_p: 1.0, top_k: 0}\nsplits:")
    prepare_task("tiny", "quickstart-llama", "arithmetic")
    found = []
    for seed in (0, 1):
        predictions = cell("arithmetic", seed).folder / "predictions.jsonl"
        train_cell(cell("arithmetic", seed))
        found.append(predictions.read_bytes())
        predictions.unlink()
        predict_cell(cell("arithmetic", seed))
        assert predictions.read_bytes() == found[-1]
    assert found[0] != found[1]


FILES = ("adapter/adapter_model.safetensors", "train.jsonl", "snapshots.safetensors")
EPOCHS = STUDY.replace("steps: 2", "steps: 5, checkpoint_steps: 3").replace(
    "true}", "true, epoch: best}"
)


def contents(names: tuple[str, ...]) -> dict[str, bytes]:
    return {name: (cell("sentences").folder / name).read_bytes() for name in names}


def rows(path: Path) -> list[float]:
    return [row["prediction"] for row in read_jsonl(path)]


class KilledError(Exception):
    pass


class KillAtStep4(TrainerCallback):
    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step == 4:
            raise KilledError


def test_the_best_epoch_predicts_and_training_stays_as_it_is(project, monkeypatch):
    """Of epochs of 2 steps, after 2, 4 and 5 steps, the first is made the best, then the last."""
    replace(project / "config/methods/lora.yaml", "lora_dropout: 0.0", "lora_dropout: 0.5")
    study(project)
    task = project / "config/tasks/sentences.yaml"
    replace(task, "train: {rows: 3200}", "train: {rows: 64}")
    prepare_task("tiny", "quickstart-llama", "sentences")
    folder = cell("sentences").folder
    predictions = folder / "predictions.jsonl"
    after = {}
    for steps in (2, 5):
        study(
            project,
            EPOCHS.replace("epoch: best", "epoch: last").replace("steps: 5", f"steps: {steps}"),
        )
        train_cell(cell("sentences"))
        after[steps] = rows(predictions)
    last = contents(FILES)
    assert after[2] != after[5]

    study(project, EPOCHS)
    for chosen, steps in ((1, 2), (3, 5)):
        monkeypatch.setattr(
            "lorasb.stages.train.primary_value",
            lambda task, found, path, wanted=after[steps]: float(
                [row["prediction"] for row in found] == wanted
            ),
        )
        train_cell(cell("sentences"))
        assert contents(FILES) == last
        assert rows(predictions) == after[steps]
        timing = read_json(folder / "predict_timing.json")
        assert timing["epoch"] == chosen
    whole = contents((*FILES, "predictions.jsonl"))

    with monkeypatch.context() as patch:
        patch.setattr(PeftMethod, "callbacks", lambda self: [KillAtStep4()])
        with pytest.raises(KilledError):
            train_cell(cell("sentences"))
    assert [path.name for path in folder.rglob("epoch-*.json")] == ["epoch-1.json"]
    for name in whole:
        (folder / name).unlink()
    train_cell(cell("sentences"))
    assert contents(tuple(whole)) == whole
    with pytest.raises(UserError, match="best predicts along training"):
        predict_cell(cell("sentences"))


def test_the_best_epoch_is_that_of_the_primary_metric(project):
    """Without a hand in the score: it is the highest among those of runs that end there."""
    study(project, EPOCHS)
    replace(project / "config/tasks/sentences.yaml", "train: {rows: 3200}", "train: {rows: 64}")
    prepare_task("tiny", "quickstart-llama", "sentences")
    task = Task.from_config("sentences", load_task_config("sentences"))
    split = cell("sentences").path(grid.DATA) / "test.parquet"
    scores = []
    for steps in (2, 4, 5):
        study(
            project,
            EPOCHS.replace("epoch: best", "epoch: last").replace("steps: 5", f"steps: {steps}"),
        )
        train_cell(cell("sentences"))
        found = read_jsonl(cell("sentences").folder / "predictions.jsonl")
        scores.append(primary_value(task, found, split))
    assert len(set(scores)) > 1
    study(project, EPOCHS)
    train_cell(cell("sentences"))
    found = read_jsonl(cell("sentences").folder / "predictions.jsonl")
    assert primary_value(task, found, split) == max(scores)
    timing = read_json(cell("sentences").folder / "predict_timing.json")
    assert timing["epoch"] == scores.index(max(scores)) + 1


def test_the_untrained_model_has_no_epochs(project):
    study(project, EPOCHS.replace("lora: {ranks: [4]}", "base: {}").replace('lora: "1e-3"', ""))
    prepare_task("tiny", "quickstart-llama", "sentences")
    base = Cell("tiny", "quickstart-llama", "sentences", "base", 0, "0", 0)
    train_cell(base)
    assert len(read_jsonl(base.folder / "predictions.jsonl")) == 300
