"""A task head with a learning rate of its own."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import TrainerCallback

from lorasb.training.loop import train
from lorasb.training.run import Outcome, Plan
from tests.contract.test_methods import context, small
from tests.unit.killed import KillAt, KilledError
from tests.unit.tiny import BERT_TARGETS, tiny_bert
from tests.unit.training.test_loop import SETTINGS
from tests.unit.training.test_precision import collate, rows

STEPS, RATE = 5, 1e-3
VARIANTS = ["full", "lora", "lora-sb", "lora-pro", "lora-fa"]


def run(
    variant: str, folder: Path, rates: dict[str, float], *callbacks: TrainerCallback
) -> Outcome:
    method = small(variant)
    folder.mkdir(exist_ok=True)
    told = context(tiny_bert(0), BERT_TARGETS, folder, task_head=["classifier"])
    plan = Plan(
        settings=SETTINGS | {"scheduler": "linear", "warmup_ratio": 0.0, "checkpoint_steps": 2},
        steps=STEPS,
        learning_rate=RATE,
        seed=5,
        order=[index % 20 for index in range(STEPS * 8)],
        snapshot_steps=[0, 1, STEPS],
        checkpoints=folder / "checkpoints",
        rates=rates,
    )
    return train(
        method.attach(tiny_bert(0), told), method, rows(), collate, plan, callbacks=callbacks
    )


def moved(outcome: Outcome, step: int, *, head: bool) -> float:
    """The largest change of a number of the head, or of all else that is trained."""
    start = {k[2:]: v for k, v in outcome.snapshots.items() if k.startswith("0/")}
    return max(
        float((outcome.snapshots[f"{step}/{name}"] - value).abs().max())
        for name, value in start.items()
        if (".classifier." in f".{name}.") == head
    )


@pytest.mark.parametrize("variant", VARIANTS)
def test_each_part_moves_by_its_own_rate(variant, tmp_path):
    found = run(variant, tmp_path / "own", {"classifier": 20 * RATE})
    same = run(variant, tmp_path / "same", {})
    # Adam's first step is the rate for each number whose gradient is not tiny
    assert moved(found, 1, head=True) == pytest.approx(20 * RATE, rel=1e-3)
    assert moved(same, 1, head=True) == pytest.approx(RATE, rel=1e-3)
    assert moved(found, 1, head=False) == moved(same, 1, head=False) > 0
    # the log has the rate of what is not the head
    assert [row["learning_rate"] for row in found.log] == [row["learning_rate"] for row in same.log]


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_common_rate_as_its_own_changes_nothing(variant, tmp_path):
    found = run(variant, tmp_path / "own", {"classifier": RATE})
    same = run(variant, tmp_path / "same", {})
    for key, value in same.snapshots.items():
        assert torch.equal(found.snapshots[key], value), key


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_continued_run_ends_in_the_same_bits(variant, tmp_path):
    rates = {"classifier": 20 * RATE}
    expected = run(variant, tmp_path / "whole", rates)
    with pytest.raises(KilledError):
        run(variant, tmp_path / "cut", rates, KillAt(3))
    found = run(variant, tmp_path / "cut", rates)
    assert found.log == expected.log
    for key, value in expected.snapshots.items():
        assert torch.equal(found.snapshots[key], value), key
