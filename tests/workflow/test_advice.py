"""What a message about a damaged file says to do, done: afterwards results are as before."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pandas as pd
import pytest
from safetensors.torch import load_file, save_file

from tests.workflow.conftest import copy_project, environment, planned, snakemake

pytestmark = pytest.mark.slow

STUDY = """
description: one task, two steps, predicted by a rule of its own
models: [quickstart-llama]
tasks: [reviews]
variants: {lora: {ranks: [2]}, lora-sb: {ranks: [2]}}
seeds: [0]
learning_rates: {lora: "1e-2", lora-sb: "1e-2"}
settings:
  training: {steps: 2, epochs: null, batch_size: 4, warmup_ratio: 0.0}
  gradient: {samples: 4}
  probe: {points: 3, rows: 4, random_draws: 2}
  prediction: {with_training: false}
"""
TASK = "extends: sentences\nsplits: {train: {rows: 32}, selection: {rows: 0}, test: {rows: 8}}\n"
CELL = "results/tiny/runs/quickstart-llama/reviews/lora-sb/r2/lr1e-2/seed0"
FACTORS = "results/tiny/shared/factors/quickstart-llama/reviews/n4/seed0/factors.safetensors"
METRICS = "results/tiny/scores/quickstart-llama/reviews/test.metrics.csv"
TIDY = "results/tiny/tables/runs.csv"
TABLE = "results/tiny/tables/accuracy.md"


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project copy with all tables of the study."""
    root = copy_project(tmp_path_factory.mktemp("advice") / "project")
    (root / "config/studies/tiny.yaml").write_text(STUDY, encoding="utf-8")
    (root / "config/tasks/reviews.yaml").write_text(TASK, encoding="utf-8")
    done = snakemake(root, "tables")
    assert done.returncode == 0, done.stdout + done.stderr
    return root


def results(root: Path) -> dict[str, bytes]:
    """What does not depend on the clock."""
    names = ("adapter/adapter_model.safetensors", "snapshots.safetensors", "predictions.jsonl")
    paths = [*(f"{CELL}/{name}" for name in names), FACTORS, METRICS, TABLE]
    return {path: (root / path).read_bytes() for path in paths}


def lose_a_line(path: Path) -> None:
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(lines[:1] + lines[2:]))


def double_a_tensor(path: Path) -> None:
    tensors = load_file(path)
    tensors[min(tensors)] *= 2
    save_file(tensors, path, {"format": "pt"})


@pytest.mark.parametrize(
    ("path", "damage"),
    [
        (f"{CELL}/predictions.jsonl", lose_a_line),
        (f"{CELL}/adapter/adapter_model.safetensors", double_a_tensor),
        (FACTORS, double_a_tensor),
        (METRICS, lose_a_line),
    ],
    ids=["predictions", "adapter", "factors", "metrics"],
)
def test_the_command_of_the_message_makes_the_same_results(
    whole: Path, tmp_path: Path, path: str, damage: Callable[[Path], None]
) -> None:
    root = tmp_path / "project"
    shutil.copytree(whole, root)
    damage(root / path)
    if "adapter" in path:  # what reads it is to run
        (root / CELL / "predictions.jsonl").unlink()
    failed = snakemake(root, "tables")
    said = failed.stdout + failed.stderr
    assert failed.returncode != 0
    assert "Traceback" not in said
    (line,) = {line for line in said.splitlines() if " error: " in line}
    assert path in line
    found = re.search("make it again: `(.*)`", line)
    assert found is not None
    for command in (found[1], "snakemake --cores all tables"):
        done = subprocess.run(
            command,
            check=False,
            shell=True,
            cwd=root,
            env=environment(),
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stdout + done.stderr
    assert results(root) == results(whole)
    assert set(pd.read_csv(root / TIDY)["status"]) == {"ok"}
    assert not list((root / "results").rglob("failed.json"))
    assert planned(snakemake(root, "tables", "--dry-run")) == {}


@pytest.fixture
def lost(whole: Path) -> Iterator[Callable[[str], dict[str, int]]]:
    """What is planned while a file is not there."""

    def plan(name: str) -> dict[str, int]:
        path = whole / name
        aside = path.with_name("aside")
        path.rename(aside)
        try:
            return planned(snakemake(whole, "tables", "--dry-run"))
        finally:
            aside.rename(path)

    yield plan


@pytest.mark.parametrize(
    ("path", "rule"),
    [
        ("results/tiny/shared/data/quickstart-llama/reviews/record.json", "prepare_task"),
        (str(Path(FACTORS).with_name("record.json")), "factorize_gradient"),
        (f"{CELL}/train.record.json", "train"),
        (f"{CELL}/predictions.jsonl", "predict"),
        (METRICS, "score"),
        (TIDY, "collect"),
    ],
)
def test_what_a_failed_job_removed_is_made_although_the_tables_are_there(lost, path, rule):
    assert rule in lost(path)
