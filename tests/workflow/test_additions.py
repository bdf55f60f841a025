"""A variant and a task are YAML and no code: their names are in the plan, a table and a figure."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from matplotlib.text import Text

from analysis.figures.score_vs_trainable import draw
from analysis.names import Names
from tests.workflow.conftest import copy_project, environment, planned, snakemake

pytestmark = pytest.mark.slow

STUDY = """
description: a variant and a task that nothing else knows
models: [quickstart-llama]
tasks: [reviews]
variants:
  full: {}
  lora-sb-n10: {ranks: [2]}
seeds: [0]
learning_rates: {full: "1e-3", lora-sb-n10: "1e-2"}
settings:
  training: {steps: 2, epochs: null}
  probe: {points: 0}
  prediction: {with_training: true}
"""
TASK = "extends: sentences\nlabel: Made-up reviews\nsplits: {train: {rows: 64}}\n"
VARIANT = '  n10: {label: "LoRA-SB, 10 samples", samples: 10}\n'
TABLE, FIGURE = "tables/accuracy.md", "figures/score_vs_trainable.png"


@pytest.fixture
def added(tmp_path: Path) -> Path:
    root = copy_project(tmp_path / "project")
    (root / "config/studies/tiny.yaml").write_text(STUDY, encoding="utf-8")
    (root / "config/tasks/reviews.yaml").write_text(TASK, encoding="utf-8")
    method = root / "config/methods/lora-sb.yaml"
    before, variants, after = method.read_text().partition("variants:\n")
    method.write_text(before + variants + VARIANT + after, encoding="utf-8")
    return root


def test_a_variant_and_a_task_are_named_in_plan_table_and_figure(added):
    targets = [f"results/tiny/{name}" for name in (TABLE, FIGURE)]
    dry = snakemake(added, *targets, "--dry-run")
    assert planned(dry)["train_and_predict"] == 2
    assert "shared/gradients/quickstart-llama/reviews/n10/seed0/" in dry.stdout + dry.stderr
    command = [sys.executable, "-m", "lorasb", "plan", "--study", "tiny"]
    plan = subprocess.run(
        command, cwd=added, env=environment(), capture_output=True, text=True, check=True
    )
    assert "| reviews | lora-sb-n10 |" in " ".join(plan.stdout.split())

    done = snakemake(added, *targets)
    assert done.returncode == 0, done.stdout + done.stderr
    folder = added / "results/tiny"
    table = (folder / TABLE).read_text()
    assert "LoRA-SB, 10 samples" in table
    assert "Made-up reviews" in table
    assert (folder / FIGURE).stat().st_size
    runs = pd.read_csv(folder / "tables/runs.csv", dtype={"lr": str})
    figure = draw(runs, Names.read(folder / "tables/names.csv"))
    texts = [text.get_text() for text in figure.findobj(Text)]
    assert any("LoRA-SB, 10 samples" in text for text in texts)
    assert any("Made-up reviews" in text for text in texts)


def test_a_changed_label_draws_again_and_runs_nothing(added):
    done = snakemake(added, f"results/tiny/{TABLE}")
    assert done.returncode == 0, done.stdout + done.stderr
    method = added / "config/methods/lora-sb.yaml"
    method.write_text(method.read_text().replace("LoRA-SB, 10 samples", "LoRA-SB, ten samples"))
    jobs = planned(snakemake(added, f"results/tiny/{TABLE}", "--dry-run"))
    assert set(jobs) == {"write_names", "table_accuracy"}
