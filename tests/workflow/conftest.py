"""A small study on the bundled model, and a way to call snakemake on a copy of the project."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

TINY = """
description: one task, few steps
models: [quickstart-llama]
tasks: [sentences]
variants:
  base: {seeds: [0]}
  full: {}
  lora: {ranks: [2]}
  lora-xs: {ranks: [2, 4]}
  lora-sb: {ranks: [2, 4]}
seeds: [0]
learning_rates: {full: "1e-3", lora: "1e-2", lora-xs: "1e-2", lora-sb: "1e-2"}
sweep:
  seeds: [100]
  learning_rates: {full: ["1e-3"], lora: ["1e-2"], lora-xs: ["1e-2"], lora-sb: ["1e-3", "1e-2"]}
settings:
  training: {steps: 6, epochs: null, checkpoint_steps: 2}
  gradient: {samples: 16}
  probe: {points: 3, rows: 8, random_draws: 3}
"""

Snakemake = Callable[..., subprocess.CompletedProcess[str]]


def copy_project(root: Path) -> Path:
    """The project without results, with the study `tiny` as the one to run."""
    ignore = shutil.ignore_patterns("__pycache__", "*.egg-info")
    for name in ("config", "workflow", "profiles", "analysis", "lorasb", "resources"):
        shutil.copytree(ROOT / name, root / name, ignore=ignore)
    shutil.copy(ROOT / "Snakefile", root / "Snakefile")
    (root / "config/studies/tiny.yaml").write_text(TINY, encoding="utf-8")
    (root / "config/config.yaml").write_text("study: tiny\n", encoding="utf-8")
    return root


def snakemake(root: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run snakemake in `root`, with the tests' own interpreter."""
    return subprocess.run(
        [sys.executable, "-m", "snakemake", "--cores", "2", *arguments],
        cwd=root,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )


def environment() -> dict[str, str]:
    """The rules call `python`: it must be this one."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return os.environ | {"PATH": path, "HF_HUB_OFFLINE": "1"}


def refusal(done: subprocess.CompletedProcess[str]) -> str:
    """All that a workflow says that is refused as it is read, but for Snakemake's own settings."""
    assert done.returncode == 1
    own = ("Using workflow specific profile", "Config file ")
    lines = (done.stdout + done.stderr).splitlines()
    (line,) = [line for line in lines if not line.startswith(own)]
    return line


def planned(done: subprocess.CompletedProcess[str]) -> dict[str, int]:
    """Rule -> number of jobs in the plan of a dry run."""
    assert done.returncode == 0, done.stdout + done.stderr
    jobs: dict[str, int] = {}
    for line in (done.stdout + done.stderr).splitlines():
        words = line.split()
        if len(words) == 2 and words[1].isdigit() and words[0] not in {"total", "jobid:"}:
            jobs[words[0]] = int(words[1])
    return jobs


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project copy in which the study `tiny` has been run."""
    root = copy_project(tmp_path_factory.mktemp("workflow") / "project")
    done = snakemake(root)
    assert done.returncode == 0, done.stdout + done.stderr
    return root
