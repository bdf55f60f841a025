"""Training a model in bfloat16: float32 is trained, kept, and continued to the same bits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import TrainerCallback

from lorasb.methods.registry import make_variant
from lorasb.training.loop import train
from lorasb.training.run import Outcome, Plan
from tests.contract.test_methods import context
from tests.unit.killed import KillAt, KilledError
from tests.unit.tiny import BERT_TARGETS, sequences, tiny_bert
from tests.unit.training.test_loop import SETTINGS

STEPS = 5
VARIANTS = ["full", "lora", "lora-sb", "lora-pro", "full-kahan"]


def rows() -> list[dict[str, Any]]:
    return [
        {"input_ids": ids, "labels": torch.tensor(index % 2)}
        for index, ids in enumerate(sequences(0, [6] * 20))
    ]


def collate(batch: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
    return {key: torch.stack([row[key] for row in batch]) for key in ("input_ids", "labels")}


def run(variant: str, precision: str, folder: Path, *callbacks: TrainerCallback) -> Outcome:
    method = make_variant(variant).method
    folder.mkdir(exist_ok=True)
    told = context(tiny_bert(0), BERT_TARGETS, folder, task_head=["classifier"])
    plan = Plan(
        settings=SETTINGS | {"precision": precision, "checkpoint_steps": 2},
        steps=STEPS,
        learning_rate=1e-3,
        seed=5,
        order=[index % 20 for index in range(STEPS * 8)],
        snapshot_steps=[0, 1, STEPS],
        checkpoints=folder / "checkpoints",
    )
    model = method.attach(tiny_bert(0).bfloat16(), told)
    return train(model, method, rows(), collate, plan, callbacks=callbacks)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("variant", VARIANTS)
def test_continued_run_ends_in_the_same_bits(variant, precision, tmp_path):
    expected = run(variant, precision, tmp_path / "whole")
    with pytest.raises(KilledError):
        run(variant, precision, tmp_path / "cut", KillAt(3))
    found = run(variant, precision, tmp_path / "cut")
    assert found.log == expected.log
    assert found.snapshots.keys() == expected.snapshots.keys()
    for key, value in expected.snapshots.items():
        assert torch.equal(found.snapshots[key], value), key
    dtypes = {value.dtype.itemsize for value in expected.snapshots.values()}
    assert dtypes == {make_variant(variant).method.bytes_a_number(2)}
