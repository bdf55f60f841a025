"""Processes that claim GPUs; no GPU is needed, for they are taken by name."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

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
