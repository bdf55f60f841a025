"""Keeping parameters for the probe does not change what a cell trains."""

from __future__ import annotations

import pytest
from safetensors.torch import load_file

from tests.workflow.conftest import TINY, copy_project, snakemake

pytestmark = pytest.mark.slow

CELL = "results/{study}/runs/quickstart-llama/sentences/lora-sb/r4/lr1e-2/seed0"
FILES = (
    "adapter/adapter_model.safetensors",
    "adapter/adapter_config.json",
    "train.jsonl",
    "predictions.jsonl",
)


def test_cell_has_the_same_bytes_with_and_without_snapshots(tmp_path):
    root = copy_project(tmp_path / "project")
    bare = TINY.replace("points: 3", "points: 0")
    assert bare != TINY
    (root / "config/studies/bare.yaml").write_text(bare, encoding="utf-8")
    with_snapshots, without = (root / CELL.format(study=study) for study in ("tiny", "bare"))
    for folder in (with_snapshots, without):
        done = snakemake(root, str(folder.relative_to(root) / "predictions.jsonl"))
        assert done.returncode == 0, done.stdout + done.stderr
    for name in FILES:
        assert (with_snapshots / name).read_bytes() == (without / name).read_bytes(), name
    steps = {key.split("/")[0] for key in load_file(with_snapshots / "snapshots.safetensors")}
    assert steps == {"0", "1", "6"}
    assert not load_file(without / "snapshots.safetensors")
