"""The training loop on a linear model: continuing, snapshots, and what stops it."""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from transformers import TrainerCallback

from lorasb.errors import UserError
from lorasb.methods.full import Full
from lorasb.training.loop import last_checkpoint, train
from lorasb.training.order import batch_order
from lorasb.training.run import MARKER, Outcome, Plan
from lorasb.training.schedule import snapshot_steps, warmup_steps
from tests.unit.killed import KillAt, KilledError

SETTINGS = {
    "batch_size": 4,
    "gradient_accumulation": 2,
    "scheduler": "cosine",
    "warmup_ratio": 0.1,
    "weight_decay": 0.0,
    "max_grad_norm": 1.0,
    "logits": "all",
    "precision": "float32",
    "compile": False,
    "checkpoint_steps": 4,
}
STEPS = 10


class Toy(torch.nn.Module):
    """y = dropout(x) W^T, with the loss in the output as transformers' models have it."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(3, 2, bias=False)
        self.dropout = torch.nn.Dropout(0.5)
        with torch.no_grad():
            self.layer.weight.copy_(torch.arange(6.0).reshape(2, 3) / 10)

    def forward(self, x: torch.Tensor, labels: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"loss": torch.nn.functional.mse_loss(self.layer(self.dropout(x)), labels)}


def rows() -> list[dict[str, Any]]:
    random = torch.Generator().manual_seed(0)
    x = torch.randn(20, 3, generator=random)
    y = x @ torch.randn(3, 2, generator=random)
    return [{"x": x[i], "labels": y[i]} for i in range(20)]


def collate(batch: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
    return {key: torch.stack([row[key] for row in batch]) for key in ("x", "labels")}


def plan(folder: Path, **changes: Any) -> Plan:
    random = torch.Generator().manual_seed(1)
    values: dict[str, Any] = {
        "settings": SETTINGS,
        "steps": STEPS,
        "learning_rate": 0.05,
        "seed": 5,
        "order": batch_order([1] * 20, STEPS * 2, 4, random, group_by_length=False),
        "snapshot_steps": [0, 2, 5, 10],
        "checkpoints": folder,
    }
    return Plan(**values | changes)


def run(folder: Path, *callbacks: TrainerCallback, **changes: Any) -> tuple[Toy, Outcome]:
    model, told = Toy(), plan(folder, **changes)
    return model, train(model, Full(), rows(), collate, told, callbacks=callbacks)


@pytest.mark.parametrize("killed_at", [3, 5, 9])
def test_continued_run_ends_in_the_same_bits(tmp_path, killed_at):
    expected, outcome = run(tmp_path / "whole")
    with pytest.raises(KilledError):
        run(tmp_path / "cut", KillAt(killed_at))
    model, continued = run(tmp_path / "cut")
    assert torch.equal(model.layer.weight, expected.layer.weight)
    assert continued.log == outcome.log
    assert continued.snapshots.keys() == outcome.snapshots.keys()
    for key, value in outcome.snapshots.items():
        assert torch.equal(continued.snapshots[key], value)


def test_continuing_skips_what_is_done(tmp_path):
    with pytest.raises(KilledError):
        run(tmp_path, KillAt(9))
    checkpoint = last_checkpoint(tmp_path)
    assert checkpoint is not None
    assert checkpoint.name == "checkpoint-8"
    # nothing before the checkpoint runs again: step 5 would raise if it did
    run(tmp_path, KillAt(5))


def test_full_disk_is_a_line_and_the_run_goes_on_once_there_is_room(tmp_path, file_size_limit):
    expected, _ = run(tmp_path / "whole")
    file_size_limit(3000)
    with pytest.raises(UserError, match=r"cut: a checkpoint cannot be written .*; make room"):
        run(tmp_path / "cut")
    file_size_limit(10**9)
    model, _ = run(tmp_path / "cut")
    assert torch.equal(model.layer.weight, expected.layer.weight)


def test_checkpoint_without_marker_is_not_used(tmp_path):
    with pytest.raises(KilledError):
        run(tmp_path, KillAt(9))
    (tmp_path / "checkpoint-8" / MARKER).unlink()
    checkpoint = last_checkpoint(tmp_path)
    assert checkpoint is not None
    assert checkpoint.name == "checkpoint-4"
    assert not (tmp_path / "checkpoint-8").exists()


def test_matches_a_loop_written_out(tmp_path):
    """AdamW, mean over two micro-batches, clipping, transformers' cosine schedule."""
    model, twin, data = Toy(), Toy(), rows()
    model.dropout.p = twin.dropout.p = 0.0
    told = plan(tmp_path, settings=SETTINGS | {"max_grad_norm": 0.3})
    outcome = train(model, Full(), data, collate, told)
    optimizer = torch.optim.AdamW(twin.parameters(), lr=0.05, weight_decay=0.0)
    warmup = warmup_steps(SETTINGS, STEPS)
    for step in range(STEPS):
        for part in range(2):
            start = (step * 2 + part) * 4
            batch = collate([data[index] for index in told.order[start : start + 4]])
            (twin(**batch)["loss"] / 2).backward()
        torch.nn.utils.clip_grad_norm_(twin.parameters(), 0.3)
        share = (step - warmup) / (STEPS - warmup)
        factor = step / warmup if step < warmup else 0.5 * (1 + math.cos(math.pi * share))
        optimizer.param_groups[0]["lr"] = 0.05 * factor
        optimizer.step()
        optimizer.zero_grad()
        assert outcome.log[step]["learning_rate"] == pytest.approx(0.05 * factor, abs=1e-12)
    # the same operations in float32; only the order of a few sums may differ
    torch.testing.assert_close(model.layer.weight, twin.layer.weight, rtol=1e-5, atol=1e-6)


def test_snapshots_are_the_weights_after_the_step(tmp_path):
    model, outcome = run(tmp_path)
    assert set(outcome.snapshots) == {f"{step}/layer.weight" for step in (0, 2, 5, 10)}
    assert torch.equal(outcome.snapshots["0/layer.weight"], Toy().layer.weight)
    assert torch.equal(outcome.snapshots["10/layer.weight"], model.layer.weight)
    assert not torch.equal(outcome.snapshots["2/layer.weight"], model.layer.weight)


def test_loss_that_is_not_finite_stops_the_run(tmp_path):
    data = rows()
    for row in data:
        row["labels"] = row["labels"] * float("inf")
    with pytest.raises(UserError, match=r"(loss|gradient norm) is (nan|inf) at step 1"):
        train(Toy(), Full(), data, collate, plan(tmp_path))


def test_model_without_trained_weights_is_left_alone(tmp_path):
    model = Toy().requires_grad_(False)
    outcome = train(model, Full(), rows(), collate, plan(tmp_path))
    assert outcome == Outcome()
    assert not tmp_path.joinpath("checkpoint-4").exists()


def test_keeping_parameters_changes_nothing_else(tmp_path):
    model, outcome = run(tmp_path / "kept", snapshot_steps=list(range(STEPS + 1)))
    bare, other = run(tmp_path / "bare", snapshot_steps=[])
    assert torch.equal(model.layer.weight, bare.layer.weight)
    assert outcome.log == other.log
    assert len(outcome.snapshots) == STEPS + 1
    assert not other.snapshots


def test_keeping_parameters_is_off_the_clock(tmp_path, monkeypatch):
    def slow(tensors: dict[str, torch.Tensor], path: Path) -> None:
        time.sleep(0.5)
        save_file(tensors, path)

    monkeypatch.setattr("lorasb.training.callbacks.save_file", slow)
    _, outcome = run(tmp_path)
    # four times half a second, and ten steps that take far less
    assert outcome.seconds < 2.0


def test_all_that_is_trained_is_kept_and_nothing_else(tmp_path):
    model = Toy()
    model.frozen = torch.nn.Parameter(torch.zeros(1), requires_grad=False)
    outcome = train(model, Full(), rows(), collate, plan(tmp_path))
    assert {name.split("/")[1] for name in outcome.snapshots} == {"layer.weight"}


@pytest.mark.parametrize(
    ("points", "last", "expected"),
    [
        (0, 100, []),
        (3, 100, [0, 1, 100]),
        (4, 100, [0, 1, 10, 100]),
        (6, 60, [0, 1, 3, 8, 22, 60]),
        (6, 2, [0, 1, 2]),
        (6, 1, [0, 1]),
    ],
)
def test_snapshot_steps_are_the_start_and_log_spaced(points, last, expected):
    assert snapshot_steps(points, last) == expected
