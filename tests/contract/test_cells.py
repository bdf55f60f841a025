"""Cells of the baselines on the bundled model: trained, killed, continued, predicted, compared."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from lorasb.probes.replay import base_weights, replay
from lorasb.stages.prepare_task import prepare_task
from lorasb.stages.train import train
from lorasb.study.cells import Cell
from lorasb.study.study import Study
from lorasb.training.setup import load_base
from tests.unit.killed import KilledError, kill_cells_at

pytestmark = pytest.mark.slow

VARIANTS = ["rslora", "pissa", "dora", "lora-pro", "lora-pro-efficient"]
STUDY = """
description: one task, few steps
models: [quickstart-llama]
tasks: [sentences]
variants: {VARIANTS}
seeds: [0]
learning_rates: {RATES}
sweep: {seeds: [1], learning_rates: {}}
settings:
  training: {steps: 5, epochs: null, checkpoint_steps: 2, warmup_ratio: 0.0, weight_decay: 0.01}
  probe: {points: 3}
  prediction: {with_training: true}
"""
FILES = (
    "adapter/adapter_model.safetensors",
    "adapter/adapter_config.json",
    "snapshots.safetensors",
    "train.jsonl",
    "predictions.jsonl",
)
PREDICT = """
import sys, torch
from lorasb.stages.predict import predict
from lorasb.study.cells import Cell
torch.set_num_threads(1)
for variant in sys.argv[1:]:
    predict(Cell("tiny", "quickstart-llama", "sentences", variant, 4, "1e-2", 0, "test"))
"""


def cell(variant: str) -> Cell:
    return Cell("tiny", "quickstart-llama", "sentences", variant, 4, "1e-2", 0, "test")


def contents(variant: str) -> dict[str, bytes]:
    return {name: (cell(variant).folder / name).read_bytes() for name in FILES}


@pytest.fixture
def prepared(project: Path) -> Path:
    """A copy of the project with prepared rows, as working directory."""
    text = STUDY.replace("VARIANTS", ", ".join(f"{name}: {{ranks: [4]}}" for name in VARIANTS))
    text = text.replace("RATES", ", ".join(f'{name}: "1e-2"' for name in VARIANTS))
    (project / "config/studies/tiny.yaml").write_text(text, encoding="utf-8")
    prepare_task("tiny", "quickstart-llama", "sentences")
    return project


def test_baselines_are_trained_continued_predicted_and_compared(prepared, monkeypatch):
    whole = {}
    for variant in VARIANTS:
        train(cell(variant))
        whole[variant] = contents(variant)
        for name in FILES:
            (cell(variant).folder / name).unlink()

        with monkeypatch.context() as patch:
            kill_cells_at(patch, 3)
            with pytest.raises(KilledError):
                train(cell(variant))
        assert list(cell(variant).folder.rglob("checkpoint-2/optimizer.pt"))
        train(cell(variant))
        assert contents(variant) == whole[variant], variant
        (cell(variant).folder / "predictions.jsonl").unlink()
        check_updates(variant)

    subprocess.run([sys.executable, "-c", PREDICT, *VARIANTS], check=True, capture_output=True)
    for variant in VARIANTS:
        assert contents(variant) == whole[variant], variant


def check_updates(variant: str) -> None:
    """Snapshots and the saved adapter stand for the same change of each weight."""
    study = Study.load("tiny")
    resolved = study.resolved("quickstart-llama", "sentences")
    network, _ = load_base(resolved, 0)
    base = base_weights(network, resolved)
    method = study.variants[variant].method
    final = method.updates(method.load(network, cell(variant).folder / "adapter"), base)
    along = {moment.step: moment.updates for moment in replay(study, cell(variant), rows=300)}
    assert list(along) == [0, 1, 5]
    for name, update in final.items():
        assert torch.equal(along[5][name], update)
        assert 0 < along[1][name].norm() < update.norm()
