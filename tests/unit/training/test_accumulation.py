"""A step is the same in how many backward passes it is made."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import LlamaForSequenceClassification, PreTrainedModel

from lorasb.methods.full import Full
from lorasb.tasks.collate import Collator
from lorasb.training.loop import train
from lorasb.training.run import Plan
from tests.unit.tiny import sequences, tiny_bert, tiny_llama
from tests.unit.training.test_loop import SETTINGS

LENGTHS = [3, 9, 4, 12, 5, 7, 3, 10]
SPLITS = [(8, 1), (4, 2), (2, 4), (1, 8)]
Labels = list[Any]
Made = Callable[[], tuple[PreTrainedModel, Labels]]


class Padding:
    """What a collator needs of a tokenizer."""

    pad_token_id = 0

    def save_pretrained(self, folder: str) -> None:
        """A checkpoint keeps nothing of it."""


def classes() -> tuple[PreTrainedModel, Labels]:
    return tiny_bert(0, num_labels=3, dropout=0.0), [0, 1, 2, 1, 0, 2, 2, 1]


def numbers() -> tuple[PreTrainedModel, Labels]:
    model = tiny_bert(0, num_labels=1, dropout=0.0)
    model.config.problem_type = "regression"
    return model, [0.5, 1.0, -2.0, 3.0, 0.0, 1.5, 2.5, -1.0]


def llama_classes() -> tuple[PreTrainedModel, Labels]:
    config = tiny_llama(0).config
    config.num_labels = 3
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return LlamaForSequenceClassification(config), [0, 1, 2, 1, 0, 2, 2, 1]


def texts() -> tuple[PreTrainedModel, Labels]:
    """The first tokens of a row are a prompt, of another length in each row."""
    rows = [ids.tolist() for ids in sequences(1, LENGTHS)]
    return tiny_llama(0), [[-100] * (len(ids) // 2) + ids[len(ids) // 2 :] for ids in rows]


def first_step(folder: Path, made: Made, size: int, passes: int, rows: int) -> dict[str, float]:
    """What the loop logs of a step on the first rows, in passes of so many rows at most."""
    model, labels = made()
    model.requires_grad_(True)
    data = [
        {"input_ids": ids.tolist(), "attention_mask": [1] * len(ids), "labels": label}
        for ids, label in zip(sequences(1, LENGTHS), labels, strict=True)
    ]
    settings = SETTINGS | {"batch_size": size, "gradient_accumulation": passes}
    plan = Plan(settings, 1, 1e-3, 0, list(range(rows)), [], folder)
    collate = Collator(Padding())  # type: ignore[arg-type]
    return train(model, Full(), data, collate, plan).log[0]


@pytest.mark.parametrize("made", [classes, numbers, llama_classes, texts])
@pytest.mark.parametrize("rows", [8, 7])
def test_loss_and_gradient_of_a_step_do_not_depend_on_its_passes(tmp_path, made, rows):
    """With seven rows the last pass has fewer than the others, and all passes are padded."""
    splits = SPLITS if rows == 8 else [(8, 1), (4, 2), (2, 4), (3, 3)]
    found = [
        first_step(tmp_path / f"{size}x{passes}", made, size, passes, rows)
        for size, passes in splits
    ]
    for other in found[1:]:
        # float32 sums in another order
        assert other["loss"] == pytest.approx(found[0]["loss"], rel=1e-5)
        assert other["grad_norm"] == pytest.approx(found[0]["grad_norm"], rel=1e-4)
