"""What a method is told: the learning rate of its start, the layers that it adapts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from lorasb.errors import UserError
from lorasb.study.cells import Cell
from lorasb.study.counts import cell_counts
from lorasb.study.study import Study
from lorasb.training.setup import context, load_base, refuse_uncounted
from tests.unit.study.test_study import changed

MODEL, TASK = "quickstart-llama", "world"


@pytest.fixture
def started(project: Path):
    """The rate of a cell under the authors' rule, with these settings beside the defaults."""

    def rate_of(
        rate: str, rows: int, samples: int, variant: str = "lora-sb", **training: Any
    ) -> float:
        data = {
            "description": "one task",
            "models": [MODEL],
            "tasks": [TASK],
            "variants": {"base": {}, "lora-sb": {"ranks": [16]}},
            "seeds": [0],
            "learning_rates": {"lora-sb": rate},
            "settings": {
                "training": training,
                "gradient": {"batch_size": samples},
                "start": {"learning_rate": "loader-warmup"},
            },
        }
        # JSON is YAML
        (project / "config/studies/started.yaml").write_text(json.dumps(data), encoding="utf-8")
        study = Study("started")
        (cell,) = (cell for cell in study.cells if cell.variant == variant)
        return context(study, cell, rows).start_learning_rate

    return rate_of


@pytest.mark.parametrize(
    ("run", "training", "expected"),
    [
        # what the authors' code computes for its settings, to two digits: maths, common sense, GLUE
        (("1e-4", 50_000, 3), {"warmup_ratio": 0.02, "epochs": 1}, 3.0e-7),
        (("2e-3", 170_420, 10), {"warmup_ratio": 0.02, "epochs": 2}, 2.9e-6),
        (("1e-3", 8_551, 128), {"warmup_ratio": 0.06, "epochs": 30}, 8.3e-6),  # CoLA
        (("1e-3", 2_490, 128), {"warmup_ratio": 0.06, "epochs": 30}, 2.8e-5),  # RTE
        (("1e-3", 67_349, 128), {"warmup_ratio": 0.06, "epochs": 30}, 1.1e-6),  # SST-2
    ],
)
def test_loader_warmup_is_the_authors_rate(started, run, training, expected):
    found = started(*run, batch_size=32, **training)
    assert float(f"{found:.1e}") == expected


def test_steps_stand_for_their_epochs(started):
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
    study = Study.load("quickstart")
    cell = Cell("quickstart", MODEL, TASK, "lora-sb", 16, "1e-2", 0, "test")
    # 60 steps, of which 4 warm up from 0
    assert study.settings(TASK)["training"]["steps"] == 60
    assert context(study, cell, 300).start_learning_rate == pytest.approx(1e-2 / 4)


def test_a_method_that_trains_nothing_has_none(started):
    assert started("1e-2", 100, 10, "base") == 0.0


@pytest.mark.parametrize("task", ["world", "sentences"])
@pytest.mark.parametrize(
    ("targets", "adapted"),
    [
        ("all-linear", 4 * 7),
        (".*[.](q|v)_proj", 4 * 2),
        (".*[.]1[.].*_proj", 7),
        ("[q_proj, down_proj]", 4 * 2),
    ],
)
def test_targets_are_names_or_an_expression_as_peft_has_it(project: Path, task, targets, adapted):
    """The closed form counts what PEFT adapts; the head of a classifier is never among it."""
    old = "[q_proj, k_proj, v_proj, o_proj, gate_proj, up_proj, down_proj]"
    changed(project, "config/models/quickstart-llama.yaml", old, targets)
    study = Study("quickstart")
    cell = next(c for c in study.cells if (c.task, c.variant) == (task, "lora"))
    network, _ = load_base(study.resolved(MODEL, task), 0)
    model = study.variants["lora"].method.attach(network, context(study, cell, 100))
    trained = {n: p.numel() for n, p in model.named_parameters() if p.requires_grad}
    assert sum(name.endswith("lora_A.default.weight") for name in trained) == adapted
    counts = cell_counts(study, cell)
    assert sum(trained.values()) == counts.trainable + counts.task_head


@pytest.mark.parametrize(
    "changes",
    [
        {"lora_dropout: 0.0": "lora_dropout: 0.0, rank_pattern: {q_proj: 2}"},
        {"lora_dropout: 0.0": "lora_dropout: 0.0, bias: all"},
        {
            "lora_dropout: 0.0": "lora_dropout: 0.0, bias: lora_only",
            "counts: lora": "counts: built",
        },
        {"counts: lora": "counts: dora"},
    ],
)
@pytest.mark.parametrize("task", ["world", "sentences"])
def test_a_cell_that_trains_other_numbers_than_are_counted_is_refused(project, task, changes):
    for old, new in changes.items():
        changed(project, "config/methods/lora.yaml", old, new)
    study = Study("quickstart")
    cell = next(c for c in study.cells if (c.task, c.variant) == (task, "lora"))
    network, _ = load_base(study.resolved(MODEL, task), 0)
    query = network.model.layers[0].self_attn.q_proj
    query.bias = torch.nn.Parameter(torch.zeros(query.out_features))
    model = study.variants["lora"].method.attach(network, context(study, cell, 100))
    with pytest.raises(UserError, match=r"variants.lora: it trains [0-9,]+ numbers, and [0-9,]+"):
        refuse_uncounted(study, cell, model)
