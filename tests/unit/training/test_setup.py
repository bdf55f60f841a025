"""The learning rate that LoRA-SB's start is told."""

from __future__ import annotations

from typing import Any

import pytest

from lorasb.config.read import load_defaults, merge
from lorasb.grid import Cell
from lorasb.resolve import Resolved, resolve
from lorasb.training.setup import context


def started(rate: str, rows: int, samples: int, variant: str = "lora-sb", **training: Any) -> float:
    """The rate under the authors' rule; `samples`: batch size of the gradient's loader."""
    shipped = resolve("quickstart", "quickstart-llama", "world")
    changes = {
        "training": training,
        "gradient": {"batch_size": samples},
        "factors": {"learning_rate": "loader-warmup"},
    }
    resolved = Resolved(shipped.model, shipped.task, merge(load_defaults(), changes))
    cell = Cell("quickstart", "quickstart-llama", "world", variant, 16, rate, 0)
    return context(cell, resolved, rows).start_learning_rate


@pytest.mark.parametrize(
    ("rate", "rows", "samples", "training", "expected"),
    [
        # what the authors' code computes for its settings, to two digits: maths, common sense, GLUE
        ("1e-4", 50_000, 3, {"warmup_ratio": 0.02, "epochs": 1}, 3.0e-7),
        ("2e-3", 170_420, 10, {"warmup_ratio": 0.02, "epochs": 2}, 2.9e-6),
        ("1e-3", 8_551, 128, {"warmup_ratio": 0.06, "epochs": 30}, 8.3e-6),  # CoLA
        ("1e-3", 2_490, 128, {"warmup_ratio": 0.06, "epochs": 30}, 2.8e-5),  # RTE
        ("1e-3", 67_349, 128, {"warmup_ratio": 0.06, "epochs": 30}, 1.1e-6),  # SST-2
    ],
)
def test_loader_warmup_is_the_authors_rate(rate, rows, samples, training, expected):
    found = started(rate, rows, samples, batch_size=32, **training)
    assert float(f"{found:.1e}") == expected


def test_steps_stand_for_their_epochs():
    # 103 rows in batches of 10: 11; 50 steps of 4 * 3 rows: 600 / 103 epochs
    found = started(
        "1e-2",
        103,
        10,
        warmup_ratio=0.1,
        steps=50,
        epochs=None,
        batch_size=4,
        gradient_accumulation=3,
    )
    assert found == pytest.approx(1e-2 / (0.1 * 11 * 600 / 103), rel=1e-12)


def test_by_default_it_is_that_of_the_first_step_above_0():
    resolved = resolve("quickstart", "quickstart-llama", "world")
    cell = Cell("quickstart", "quickstart-llama", "world", "lora-sb", 16, "1e-2", 0)
    # 60 steps, of which 4 warm up from 0
    assert resolved.settings["training"]["steps"] == 60
    assert context(cell, resolved, 300).start_learning_rate == pytest.approx(1e-2 / 4)


def test_a_method_that_trains_nothing_has_none():
    assert started("0", 100, 10, "base") == 0.0
