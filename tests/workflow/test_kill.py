"""`kill -9` in the middle of training: the same command goes on and ends in the same bytes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.workflow.conftest import copy_project, environment, snakemake

pytestmark = pytest.mark.slow

CELL = "results/tiny/runs/quickstart-llama/sentences/lora-sb/r4/lr1e-2/seed0"
FILES = (
    "adapter/adapter_model.safetensors",
    "adapter/adapter_config.json",
    "snapshots.safetensors",
    "train.jsonl",
    "predictions.jsonl",
)
TARGET = f"{CELL}/predictions.jsonl"


def project(root: Path) -> Path:
    copy_project(root)
    study = root / "config/studies/tiny.yaml"
    study.write_text(study.read_text().replace("steps: 6", "steps: 60"))
    return root


def start(root: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "snakemake", "--cores", "1", TARGET]
    null = subprocess.DEVNULL
    return subprocess.Popen(
        command, cwd=root, env=environment(), stdout=null, stderr=null, start_new_session=True
    )


def training_process(root: Path) -> int:
    """The process that trains the cell, found by its command line and working directory."""
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            words = (folder / "cmdline").read_bytes().split(b"\0")
            here = (folder / "cwd").resolve() == root
        except OSError:
            continue  # the process ended while we looked
        if here and b"train" in words and b"lorasb" in words and b"-c" not in words:
            return int(folder.name)
    raise AssertionError("no process trains the cell")


def wait_for_checkpoint(root: Path, running: subprocess.Popen[bytes]) -> None:
    checkpoints = root / CELL / "checkpoints"
    deadline = time.monotonic() + 300
    while not list(checkpoints.glob("*/checkpoint-*/complete.json")):
        assert running.poll() is None, "snakemake ended before the first checkpoint"
        assert time.monotonic() < deadline
        time.sleep(0.02)


def contents(root: Path) -> dict[str, bytes]:
    return {name: (root / CELL / name).read_bytes() for name in FILES}


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    root = project(tmp_path_factory.mktemp("whole") / "project")
    done = snakemake(root, TARGET)
    assert done.returncode == 0, done.stderr
    return contents(root)


@pytest.mark.skipif(not Path("/proc/self/cwd").exists(), reason="finds processes through /proc")
@pytest.mark.parametrize("victims", ["training", "snakemake", "both"])
def test_killed_run_continues_to_the_same_bytes(tmp_path, uninterrupted, victims):
    root = project(tmp_path / "project")
    running = start(root)
    wait_for_checkpoint(root, running)
    training = training_process(root)
    if victims != "training":
        running.kill()
    if victims != "snakemake":
        os.kill(training, signal.SIGKILL)
    running.wait()

    log = (
        root / "logs/train_and_predict/tiny/quickstart-llama/sentences/lora-sb/r4/lr1e-2/seed0.log"
    )
    done = snakemake(root, TARGET)
    assert done.returncode == 0, done.stdout + done.stderr + log.read_text()
    assert contents(root) == uninterrupted
    assert not (root / CELL / "checkpoints").exists()
