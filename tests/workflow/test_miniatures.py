"""Every study of the paper, cut down, through every rule: rows to report tables, no network."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from safetensors.torch import load_file

from lorasb.config.read import load_study, names
from lorasb.files import read_json
from lorasb.study.cells import COLUMNS
from lorasb.study.paths import CELL, DATA, FIGURES, TABLES
from lorasb.study.study import Study
from tests.miniature import SELECTION_ROWS, TEST_ROWS, TRAINING_ROWS, shrink
from tests.workflow.conftest import copy_project, snakemake

FEW = ["base", "lora-xs", "lora-sb"]
# study -> some of its tasks, some of its variants; None: all of them
MINIATURES: dict[str, tuple[list[str] | None, list[str] | None]] = {
    "ablation-init": (["world"], ["full", "lora-sb", "lora-sb-random", "lora-sb-noise1"]),
    "ablation-orthonormal": (["world"], ["lora-sb", "lora-sb-folded"]),
    "ablation-r0": (["world"], ["lora-sb", "lora-sb-zero"]),
    "ablation-samples": (["world"], ["full", "lora-sb-n1", "lora-sb-n500"]),
    "ablation-scale": (["world"], ["full", "lora-sb", "lora-sb-s4", "lora-sb-sgd"]),
    "paper-arithmetic-gemma": (None, FEW),
    "paper-arithmetic-gemma-authors": (None, FEW),
    "paper-arithmetic-mistral": (None, None),
    "paper-arithmetic-mistral-authors": (None, FEW),
    "paper-commonsense-llama": (None, FEW),
    "paper-commonsense-llama-authors": (None, FEW),
    "paper-glue-roberta": (["stsb"], None),
    "paper-glue-roberta-authors": (["mrpc", "qnli"], FEW),
}
# studies with figures of their own, and one of each kind of task; of the others tables are enough
DRAWN = {
    "ablation-init": ["noise_level", "subspace_energy"],
    "ablation-samples": ["gradient_samples", "captured_energy"],
    "ablation-scale": ["scale_sensitivity", "direction_preservation"],
    "paper-arithmetic-mistral": ["score_vs_trainable", "training_loss"],
    "paper-glue-roberta": ["score_vs_trainable", "score_vs_stored"],
}
READ = ["accuracy", "costs", "paired_differences", "claims"]
LOSSES = ("dropped", "truncated")


def test_each_such_study_has_a_miniature():
    named = {name for name in names("studies") if name.startswith(("paper-", "ablation-"))}
    assert named == set(MINIATURES)


@pytest.mark.slow
@pytest.mark.parametrize("study", MINIATURES)
def test_miniature_goes_through_every_rule(tmp_path: Path, study: str):
    root = copy_project(tmp_path / "project")
    data = load_study(study)
    tasks, variants = MINIATURES[study]
    tasks, variants = tasks or data["tasks"], variants or list(data["variants"])
    shrink(root, study, tasks=tasks, variants=variants)
    target = [] if study in DRAWN else ["tables"]
    done = snakemake(root, *target, "--config", f"study={study}")
    assert done.returncode == 0, done.stdout + done.stderr

    tables = root / TABLES.format(study=study)
    runs = pd.read_csv(tables / "runs.csv")
    assert (runs["status"] == "ok").all()
    assert len(runs) == len(tasks) * len(variants)
    for run in runs[runs["method"].isin(["lora-xs", "lora-sb"])].itertuples():
        trained = load_file(folder(root, run) / "adapter/adapter_model.safetensors")
        inner = sum(value.numel() for name, value in trained.items() if "lora_xs_R" in name)
        assert inner == run.trainable_parameters
    for name in READ:
        assert (tables / f"{name}.md").read_text().strip()
    for name in DRAWN.get(study, []):
        assert (root / FIGURES.format(study=study) / f"{name}.png").stat().st_size
    if study.startswith("paper-"):
        check_rows(root, study, runs["model"].iloc[0], tasks)


def folder(root: Path, run) -> Path:
    found = {name: getattr(run, name) for name in COLUMNS if name != "lr"}
    (path,) = root.glob(CELL.format(study=run.study, lr="*", **found))
    return path


def check_rows(root: Path, study: str, model: str, tasks: list[str]) -> None:
    """No row is lost or cut on the way, and each split has those that were written."""
    for task in tasks:
        path = root / DATA.format(study=study, model=model, task=task) / "manifest.json"
        splits = read_json(path)["splits"]
        asked = Study(study).task_data[task]["splits"]
        assert splits["train"]["rows"] == TRAINING_ROWS
        assert splits["selection"]["rows"] == min(SELECTION_ROWS, asked["selection"]["rows"])
        assert splits["test"]["rows"] == TEST_ROWS * len(asked["test"].get("sets", [0]))
        for counts in splits.values():
            lost = {key: value for key, value in counts.items() if key.startswith(LOSSES)}
            assert not any(lost.values()), lost
