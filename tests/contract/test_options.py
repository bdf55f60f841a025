"""Cells of the bundled model under settings that are not the default."""

from __future__ import annotations

from pathlib import Path

import pytest

from lorasb.config.read import load_task_config
from lorasb.errors import UserError
from lorasb.evaluation.score import primary_value
from lorasb.files import read_json, read_jsonl
from lorasb.stages.predict import predict
from lorasb.stages.prepare_task import prepare_task
from lorasb.stages.train import train
from lorasb.study.cells import Cell
from lorasb.study.study import Study
from lorasb.tasks.task import Task
from tests.unit.killed import KilledError, kill_cells_at

pytestmark = pytest.mark.slow

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
    return Cell("tiny", "quickstart-llama", task, "lora", 4, "1e-3", seed, "test")


def study(root: Path, text: str = STUDY) -> None:
    """Write the study, and forget what was read of another one."""
    (root / "config/studies/tiny.yaml").write_text(text, encoding="utf-8")
    Study.load.cache_clear()


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
        train(cell("arithmetic", seed))
        found.append(predictions.read_bytes())
        predictions.unlink()
        predict(cell("arithmetic", seed))
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
        train(cell("sentences"))
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
        train(cell("sentences"))
        assert contents(FILES) == last
        assert rows(predictions) == after[steps]
        timing = read_json(folder / "predict_timing.json")
        assert timing["epoch"] == chosen
    whole = contents((*FILES, "predictions.jsonl"))

    with monkeypatch.context() as patch:
        kill_cells_at(patch, 4)
        with pytest.raises(KilledError):
            train(cell("sentences"))
    assert [path.name for path in folder.rglob("epoch-*.json")] == ["epoch-1.json"]
    for name in whole:
        (folder / name).unlink()
    train(cell("sentences"))
    assert contents(tuple(whole)) == whole
    with pytest.raises(UserError, match="best predicts along training"):
        predict(cell("sentences"))


def test_the_best_epoch_is_that_of_the_primary_metric(project):
    """Without a hand in the score: it is the highest among those of runs that end there."""
    study(project, EPOCHS)
    replace(project / "config/tasks/sentences.yaml", "train: {rows: 3200}", "train: {rows: 64}")
    prepare_task("tiny", "quickstart-llama", "sentences")
    task = Task.from_config("sentences", load_task_config("sentences"))
    split = cell("sentences").split_path
    scores = []
    for steps in (2, 4, 5):
        study(
            project,
            EPOCHS.replace("epoch: best", "epoch: last").replace("steps: 5", f"steps: {steps}"),
        )
        train(cell("sentences"))
        found = read_jsonl(cell("sentences").folder / "predictions.jsonl")
        scores.append(primary_value(task, found, split))
    assert len(set(scores)) > 1
    study(project, EPOCHS)
    train(cell("sentences"))
    found = read_jsonl(cell("sentences").folder / "predictions.jsonl")
    assert primary_value(task, found, split) == max(scores)
    timing = read_json(cell("sentences").folder / "predict_timing.json")
    assert timing["epoch"] == scores.index(max(scores)) + 1


def test_the_untrained_model_has_no_epochs(project):
    study(project, EPOCHS.replace("lora: {ranks: [4]}", "base: {}").replace('lora: "1e-3"', ""))
    prepare_task("tiny", "quickstart-llama", "sentences")
    base = Study.load("tiny").cells_of("quickstart-llama", "sentences")[0]
    assert (base.variant, base.lr, base.seed) == ("base", "0", 0)
    train(base)
    assert len(read_jsonl(base.folder / "predictions.jsonl")) == 300
