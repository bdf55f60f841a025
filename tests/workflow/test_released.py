"""A study that takes the cells of a release, and runs what the release lacks."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from tests.workflow.conftest import copy_project, environment, refusal, snakemake

pytestmark = pytest.mark.slow

THEIRS = """
description: what is released
models: [quickstart-llama]
tasks: [sentences, reviews]
variants:
  base: {seeds: [0]}
  lora: {ranks: [2]}
  lora-sb: {ranks: [2]}
seeds: [0]
learning_rates: {lora: "1e-2", lora-sb: "1e-2"}
settings:
  training: {steps: 2, epochs: null, checkpoint_steps: 2}
  gradient: {samples: 16}
  probe: {points: 0}
  prediction: {with_training: true}
"""
MINE = """
extends: theirs
released: theirs
variants: {lora-xs: {ranks: [2]}}
learning_rates: {lora-xs: "1e-2"}
"""
TASK = "extends: sentences\nlabel: Made-up reviews\nsplits: {train: {rows: 64}}\n"
RELEASE = "results/published/theirs"
NOTE = f"6 of 8 cells are taken from {RELEASE}; the others are run"
COORDINATES = ["model", "task", "variant", "rank", "lr", "seed"]


def publish(root: Path, study: str) -> None:
    command = [sys.executable, "-m", "lorasb", "publish", "--study", study]
    subprocess.run(command, cwd=root, env=environment(), check=True)


def run(root: Path, study: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return snakemake(root, *arguments, "--config", f"study={study}")


def text_of(done: subprocess.CompletedProcess[str]) -> str:
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def released(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the project with the release of `theirs`, and none of its runs."""
    root = copy_project(tmp_path_factory.mktemp("released") / "project")
    (root / "config/studies/theirs.yaml").write_text(THEIRS, encoding="utf-8")
    (root / "config/studies/mine.yaml").write_text(MINE, encoding="utf-8")
    (root / "config/tasks/reviews.yaml").write_text(TASK, encoding="utf-8")
    done = run(root, "theirs")
    assert done.returncode == 0, text_of(done)
    publish(root, "theirs")
    shutil.move(root / "results/theirs", root / "theirs")
    return root


def test_only_what_the_release_lacks_is_run(released):
    done = run(released, "mine")
    assert done.returncode == 0, text_of(done)
    assert NOTE in text_of(done)
    folders = (released / "results/mine/runs").rglob("predictions.jsonl")
    assert {path.parts[-5] for path in folders} == {"lora-xs"}
    own, theirs = (released / path / "tables" for path in ("results/mine", "theirs"))
    for name in ("scores", "losses", "origins"):
        found, before = (pd.read_csv(f / f"{name}.csv", dtype=str) for f in (own, theirs))
        taken = found[found["variant"] != "lora-xs"]
        assert len(found) > len(taken)
        pd.testing.assert_frame_equal(taken.reset_index(drop=True), before)
    runs = pd.read_csv(own / "runs.csv")
    assert set(runs["study"]) == {"mine"}
    assert runs["score"].notna().all()
    assert list(runs["variant"]) == ["base", "lora", "lora-sb", "lora-xs"] * 2
    items = pd.read_parquet(own / "items.parquet")
    before = pd.read_parquet(theirs / "items.parquet")
    taken = items[items["variant"] != "lora-xs"].reset_index(drop=True)
    pd.testing.assert_frame_equal(taken, before)
    assert items.groupby(COORDINATES).ngroups == 8
    publish(released, "mine")
    facts = json.loads((released / "results/published/mine/provenance.json").read_text())
    assert facts["cells_without_results"] == 0
    assert sum(origin["cells"] for origin in facts["origins"]) == 8


def test_tables_of_a_release_can_be_made_again_without_a_run(released):
    (released / "config/studies/again.yaml").write_text("extends: theirs\nreleased: theirs\n")
    done = run(released, "again")
    assert done.returncode == 0, text_of(done)
    assert not (released / "results/again/runs").exists()
    for name in ("accuracy.md", "paired_differences.md", "costs.md"):
        made = (released / "results/again/tables" / name).read_text()
        assert made == (released / "theirs/tables" / name).read_text()


def test_a_release_that_is_not_there_is_one_line(released):
    (released / "config/studies/other.yaml").write_text("extends: theirs\nreleased: their\n")
    line = refusal(run(released, "other", "--dry-run"))
    assert "config/studies/other.yaml: released: unknown release 'their'" in line
    assert "did you mean 'theirs'?" in line
