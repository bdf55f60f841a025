"""Processes that claim GPUs, taken by name so that none is needed; what a block costs."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from lorasb.errors import UserError
from lorasb.machine import WANTED, claim_gpu, measured, peak_bytes
from lorasb.training.setup import device

CLAIM = """
import os, sys
from lorasb.machine import claim_gpu
claim_gpu()
print(os.environ["CUDA_VISIBLE_DEVICES"], flush=True)
sys.stdin.read()
"""


def claim(folder: Path, visible: str) -> subprocess.Popen[str]:
    """A process that claims a GPU and holds it until its input is closed."""
    return subprocess.Popen(
        [sys.executable, "-c", CLAIM],
        env=os.environ | {"CUDA_VISIBLE_DEVICES": visible, "TMPDIR": str(folder)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_each_process_has_a_gpu_of_its_own_and_the_third_waits(tmp_path):
    first, second = (claim(tmp_path, "3,GPU-5") for _ in range(2))
    assert {first.stdout.readline(), second.stdout.readline()} == {"3\n", "GPU-5\n"}
    third = claim(tmp_path, "3,GPU-5")
    assert "all GPUs (3, GPU-5) are taken; waiting for 3" in third.stderr.readline()
    first.communicate("")
    second.communicate("")
    assert third.stdout.readline() == "3\n"
    third.communicate("")


def test_a_single_gpu_is_left_to_its_scheduler(tmp_path):
    first, second = (claim(tmp_path, "7") for _ in range(2))
    assert first.stdout.readline() == second.stdout.readline() == "7\n"
    assert not list(tmp_path.iterdir())
    first.communicate("")
    second.communicate("")


def test_a_job_that_was_given_a_gpu_does_not_run_on_the_cpu(monkeypatch):
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    assert device() == torch.device("cpu")
    monkeypatch.setenv(WANTED, "1")
    with pytest.raises(UserError, match=r"this job a GPU, and torch .* finds none") as caught:
        device()
    assert "\n" not in str(caught.value)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 1)
    claim_gpu()


def test_cost_of_a_block_is_there_when_it_ends():
    before = peak_bytes()
    with measured() as cost:
        time.sleep(0.2)
        assert cost == {}
    assert set(cost) == {"seconds", "peak_memory_bytes"}
    assert 0.2 <= cost["seconds"] < 20
    # a peak never falls, and Python with torch alone is above 10 MB
    assert cost["peak_memory_bytes"] >= before
    assert before > 1e7 or torch.cuda.is_available()
