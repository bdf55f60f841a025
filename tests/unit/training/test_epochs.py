"""Predictions after every epoch, on the linear model of the training loop's tests."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import TrainerCallback

from lorasb.errors import UserError
from lorasb.methods.full import Full
from lorasb.training.epochs import EpochPredictions
from lorasb.training.loop import train
from lorasb.training.run import Clock, Outcome
from lorasb.training.schedule import epoch_steps
from tests.unit.killed import KillAt, KilledError
from tests.unit.training.test_loop import Toy, collate, plan, rows

STEPS = [3, 6, 9, 10]


class Watch:
    """Predicts the first weight, which changes at every step, and draws as it likes."""

    def __init__(self, pause: float = 0.0) -> None:
        self.calls = 0
        self.pause = pause

    def __call__(self, model: torch.nn.Module) -> tuple[list[dict[str, Any]], dict[str, float]]:
        self.calls += 1
        time.sleep(self.pause)
        weight = model.get_parameter("layer.weight")[0, 0].item()
        cost = {"seconds": float(self.calls), "peak_memory_bytes": 10.0 * self.calls}
        return [{"item": 0, "prediction": weight, "label": 1.0}], cost


def run(
    folder: Path, watch: Watch, *callbacks: TrainerCallback
) -> tuple[Toy, Outcome, EpochPredictions]:
    clock, model, told = Clock(), Toy(), plan(folder)
    epochs = EpochPredictions(STEPS, folder, watch, clock.paused)
    called = [*callbacks, epochs]
    outcome = train(model, Full(), rows(), collate, told, callbacks=called, clock=clock)
    return model, outcome, epochs


def predicted(epochs: EpochPredictions) -> list[float]:
    """The prediction of each epoch: the best of scores that favour one after the other."""
    found: list[float] = []

    def score(predictions: list[dict[str, Any]]) -> float:
        found.append(predictions[0]["prediction"])
        return 0.0

    epochs.best(score)
    return found


def test_each_epoch_is_predicted_by_the_model_of_its_end(tmp_path):
    watch = Watch()
    model, outcome, epochs = run(tmp_path, watch)
    assert watch.calls == len(STEPS)
    assert predicted(epochs)[-1] == model.layer.weight[0, 0].item()
    kept = {f"{step}/layer.weight" for step in (0, 2, 5, 10)}
    assert set(outcome.snapshots) == kept
    assert len(set(predicted(epochs))) == len(STEPS)


@pytest.mark.parametrize(("values", "chosen"), [([1, 3, 2, 3], 2), ([1, 2, 3, 4], 4)])
def test_the_first_of_the_best_is_chosen_and_all_are_paid_for(tmp_path, values, chosen):
    _, _, epochs = run(tmp_path, Watch())
    weights = predicted(epochs)
    scores = dict(zip(weights, values, strict=True))
    predictions, cost = epochs.best(lambda found: scores[found[0]["prediction"]])
    assert predictions == [{"item": 0, "prediction": weights[chosen - 1], "label": 1.0}]
    assert cost == {"seconds": 1.0 + 2.0 + 3.0 + 4.0, "peak_memory_bytes": 40.0, "epoch": chosen}


@pytest.mark.parametrize("killed_at", [5, 7, 10])
def test_a_killed_run_keeps_the_epochs_that_it_has(tmp_path, killed_at):
    _, whole, expected = run(tmp_path / "whole", Watch())
    first, second = Watch(), Watch()
    with pytest.raises(KilledError):
        run(tmp_path / "cut", first, KillAt(killed_at))
    _, outcome, epochs = run(tmp_path / "cut", second)
    assert first.calls + second.calls == len(STEPS)
    assert predicted(epochs) == predicted(expected)
    assert outcome.log == whole.log


def test_predicting_is_off_the_clock(tmp_path):
    _, outcome, _ = run(tmp_path, Watch(pause=0.5))
    # four times half a second, and ten steps that take far less
    assert outcome.seconds < 2.0


def test_an_epoch_that_is_missing_is_named(tmp_path):
    _, _, epochs = run(tmp_path, Watch())
    (tmp_path / "epoch-2.json").unlink()
    with pytest.raises(UserError, match=r"epoch-2\.json: no such file; delete .* and run again"):
        predicted(epochs)


@pytest.mark.parametrize(
    ("rows", "steps", "epochs", "expected"),
    [
        (100, None, 3, [17, 34, 50]),  # 17 steps of 6 rows; 50 for all three
        (96, None, 3, [16, 32, 48]),
        (100, 40, None, [17, 34, 40]),
        (100, 34, None, [17, 34]),
        (100, 5, None, [5]),  # less than one
        (5, 3, None, [1, 2, 3]),  # an epoch is less than a step
    ],
)
def test_an_epoch_ends_with_the_step_that_has_its_last_row(rows, steps, epochs, expected):
    training = {"steps": steps, "epochs": epochs, "batch_size": 2, "gradient_accumulation": 3}
    assert epoch_steps({"training": training}, rows) == expected
