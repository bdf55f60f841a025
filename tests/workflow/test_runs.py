"""A whole study, and what a second call does after changes."""

from __future__ import annotations

import shutil
from pathlib import Path

import pandas as pd
import pytest

from tests.workflow.conftest import planned, snakemake
from tests.workflow.test_plans import WRONG_CELLS

pytestmark = pytest.mark.slow

STUDY = "config/studies/tiny.yaml"
CELLS = 7  # base, full, lora, two ranks each of lora-xs and lora-sb


def replan(root: Path, file: str, old: str, new: str, *target: str) -> dict[str, int]:
    """The plan after a change to a file; the change is taken back."""
    path = root / file
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    try:
        return planned(snakemake(root, *target, "--dry-run"))
    finally:
        path.write_text(text)


def test_outputs_are_there_and_not_empty(finished):
    tables = finished / "results/tiny/tables"
    for name in ("accuracy", "costs", "paired_differences", "claims", "prepared_data"):
        for suffix in ("csv", "md", "tex", "html"):
            assert (tables / f"{name}.{suffix}").stat().st_size > 0
    figures = finished / "results/tiny/figures"
    for name in (
        "score_vs_trainable",
        "score_vs_stored",
        "training_loss",
        "direction_preservation",
        "gradient_alignment",
        "subspace_energy",
        "principal_angles",
        "alignment_by_module",
        "captured_energy",
    ):
        for suffix in ("pdf", "png"):
            assert (figures / f"{name}.{suffix}").stat().st_size > 1000
    page = (finished / "results/tiny/report.html").read_text()
    assert page.count("data:image/webp") == 7  # the chart of scores takes the place of two
    runs = pd.read_csv(tables / "runs.csv")
    assert len(runs) == CELLS
    assert set(runs["status"]) == {"ok"}
    assert runs["score"].between(0, 1).all()


def test_no_checkpoint_is_left_behind(finished):
    assert not list((finished / "results").rglob("checkpoint*"))
    assert not list((finished / "results").rglob("*.partial"))


def test_second_call_plans_nothing(finished):
    assert planned(snakemake(finished, "--dry-run")) == {}


@pytest.mark.parametrize("file", [STUDY, "config/defaults.yaml", "config/methods/lora-sb.yaml"])
def test_comment_plans_nothing(finished, file):
    path = finished / file
    first = next(line for line in path.read_text().splitlines() if line and line[0] != "#")
    assert replan(finished, file, first, f"# a remark\n{first}") == {}


def test_added_seed_plans_exactly_its_own_cells(finished):
    jobs = replan(finished, STUDY, "seeds: [0]\nlearning", "seeds: [0, 1]\nlearning")
    assert jobs["train_and_predict"] == CELLS - 1  # base has a seed of its own
    assert jobs["estimate_gradient"] == jobs["factorize_gradient"] == 1
    assert jobs["probe_directions"] == 1
    assert "prepare_task" not in jobs
    assert "factorize_weights" not in jobs


def test_fixed_setting_plans_all_cells_that_train(finished):
    jobs = replan(finished, STUDY, "steps: 6", "steps: 7")
    assert jobs["train_and_predict"] == CELLS
    assert "estimate_gradient" not in jobs


def test_learning_rate_plans_the_cells_of_its_variant(finished):
    jobs = replan(finished, STUDY, 'lora-sb: "1e-2"', 'lora-sb: "2e-2"')
    assert jobs["train_and_predict"] == 2


def test_argument_of_a_method_plans_its_cells(finished):
    jobs = replan(finished, "config/methods/lora-xs.yaml", "scaling: 1.0", "scaling: 2.0")
    assert jobs["train_and_predict"] == 2


def test_score_version_scores_again_and_trains_nothing(finished):
    jobs = replan(finished, "config/tasks/sentences.yaml", "score_version: 1", "score_version: 2")
    assert jobs["score"] == 1
    assert "train_and_predict" not in jobs


def test_data_version_runs_everything_again(finished):
    jobs = replan(finished, "config/tasks/sentences.yaml", "data_version: 2", "data_version: 3")
    assert jobs["train_and_predict"] == CELLS
    assert jobs["prepare_task"] == jobs["estimate_gradient"] == 1


@pytest.mark.parametrize(("file", "old", "new", "message"), WRONG_CELLS)
def test_what_is_wrong_is_said_although_results_exist(finished, file, old, new, message):
    path = finished / file
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    try:
        done = snakemake(finished, "--dry-run")
    finally:
        path.write_text(text)
    assert done.returncode != 0
    assert message in done.stdout + done.stderr


def test_sweep_selects_a_rate_for_every_point(finished):
    done = snakemake(finished, "sweep")
    assert done.returncode == 0, done.stdout + done.stderr
    selected = pd.read_csv(finished / "results/tiny/tables/selected_lr.tsv", sep="\t", dtype=str)
    assert len(selected) == CELLS - 1
    assert set(selected["lr"]) <= {"1e-3", "1e-2"}


def test_another_metric_chooses_again_and_trains_nothing(finished, tmp_path):
    root, task = tmp_path / "project", "config/tasks/sentences.yaml"
    shutil.copytree(finished, root)
    path = root / task
    path.write_text(path.read_text().replace("metrics: [accuracy]", "metrics: [accuracy, f1]"))
    done = snakemake(root, "sweep")
    assert done.returncode == 0, done.stdout + done.stderr
    jobs = replan(root, task, "metrics:", "selection_metric: f1\nmetrics:", "sweep")
    assert jobs["select_lr"] == 1
    assert not {"train", "train_and_predict", "score"} & set(jobs)


def test_failed_cell_is_a_row_and_the_others_go_on(finished, tmp_path):
    root = tmp_path / "project"
    shutil.copytree(finished, root)
    (factors,) = (root / "results/tiny/shared/factors").glob("*/sentences/n16/seed0/*.safetensors")
    factors.write_bytes(factors.read_bytes()[:-100])
    study = root / STUDY
    study.write_text(study.read_text().replace("steps: 6", "steps: 5"))

    done = snakemake(root)
    said = done.stdout + done.stderr
    assert done.returncode != 0
    assert "cut short" in said
    assert "2 of 7 cells failed; each says why in its failed.json: results/tiny/runs/" in said
    assert "snakemake --cores all --config study=tiny on_failure=report" in said
    assert "Traceback" not in said
    cells = root / "results/tiny/runs/quickstart-llama/sentences"
    assert len(list(cells.rglob("seed0/predictions.jsonl"))) == CELLS - 2
    assert not list((cells / "lora-sb").rglob("seed0/adapter"))

    done = snakemake(root, "--config", "on_failure=report")
    runs = pd.read_csv(root / "results/tiny/tables/runs.csv")
    failed = runs[runs["status"] == "failed"]
    assert len(runs) == CELLS
    assert set(failed["variant"]) == {"lora-sb"}
    assert failed["reason"].str.contains("cut short").all()
    assert "lora-sb" in (root / "results/tiny/tables/accuracy.md").read_text().lower()
