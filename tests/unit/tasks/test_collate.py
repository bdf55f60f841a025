from __future__ import annotations

import pytest
import torch

from lorasb.tasks.collate import Collator
from tests.unit.text import word_tokenizer
from tests.unit.tiny import tiny_bert, tiny_llama

ROWS = [
    {"item": 0, "input_ids": [5, 6, 7, 8], "labels": [-100, -100, 7, 8]},
    {"item": 1, "input_ids": [9, 10], "labels": [-100, 10]},
]


def test_right_padding():
    batch = Collator(word_tokenizer())(ROWS)
    assert set(batch) == {"input_ids", "attention_mask", "labels"}
    assert batch["input_ids"].tolist() == [[5, 6, 7, 8], [9, 10, 0, 0]]
    assert batch["attention_mask"].tolist() == [[1, 1, 1, 1], [1, 1, 0, 0]]
    assert batch["labels"].tolist() == [[-100, -100, 7, 8], [-100, 10, -100, -100]]


def test_left_padding():
    batch = Collator(word_tokenizer(), side="left")(ROWS)
    assert batch["input_ids"].tolist() == [[5, 6, 7, 8], [0, 0, 9, 10]]
    assert batch["attention_mask"].tolist() == [[1, 1, 1, 1], [0, 0, 1, 1]]


def test_padding_uses_the_tokenizers_own_token():
    tokenizer = word_tokenizer()
    tokenizer.pad_token = "w9"
    assert Collator(tokenizer)(ROWS)["input_ids"][1].tolist() == [9, 10, 9, 9]


def test_token_types_are_padded_too():
    rows = [
        {"input_ids": [3, 5, 4, 6, 4], "token_type_ids": [0, 0, 0, 1, 1]},
        {"input_ids": [3, 4], "token_type_ids": [0, 0]},
    ]
    batch = Collator(word_tokenizer(pairs=True))(rows)
    assert batch["token_type_ids"].tolist() == [[0, 0, 0, 1, 1], [0, 0, 0, 0, 0]]
    assert "labels" not in batch


@pytest.mark.parametrize(("labels", "dtype"), [([1, 0], torch.int64), ([2.5, 0.0], torch.float32)])
def test_classes_and_numbers(labels, dtype):
    rows = [row | {"labels": label} for row, label in zip(ROWS, labels, strict=True)]
    batch = Collator(word_tokenizer())(rows)
    assert batch["labels"].tolist() == labels
    assert batch["labels"].dtype == dtype


def test_padding_changes_no_loss():
    model = tiny_llama(0)
    collate = Collator(word_tokenizer())
    alone = [model(**collate([row])).loss.item() for row in ROWS]
    # two label tokens and one; float32 rounding of a few sums of 40 terms
    expected = (2 * alone[0] + alone[1]) / 3
    assert model(**collate(ROWS)).loss.item() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("kind", ["regression", "single_label_classification"])
def test_a_model_takes_the_labels(kind):
    model = tiny_bert(0, num_labels=1 if kind == "regression" else 2)
    model.config.problem_type = kind
    labels = [2.5, 0.0] if kind == "regression" else [1, 0]
    rows = [row | {"labels": label} for row, label in zip(ROWS, labels, strict=True)]
    batch = Collator(word_tokenizer())(rows)
    logits = model(**batch).logits.squeeze(-1)
    expected = (
        torch.nn.functional.mse_loss(logits, torch.tensor(labels))
        if kind == "regression"
        else torch.nn.functional.cross_entropy(logits, torch.tensor(labels))
    )
    torch.testing.assert_close(model(**batch).loss, expected)
