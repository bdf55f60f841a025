"""Shared fixtures: one thread, no network, the project's root as working directory."""

from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path

import pytest

# before any test imports a Hugging Face library: a test that needs the network must fail
os.environ.setdefault("HF_HUB_OFFLINE", "1")

# a shell lets its jobs in the background ignore it, and what tests start would do so too
signal.signal(signal.SIGINT, signal.default_int_handler)

pytest_plugins = ["tests.offline"]

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(autouse=True)
def one_thread() -> None:
    """The same sums in the same order, whatever the machine."""
    import torch

    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def no_study_read() -> None:
    """Each test reads the files that it finds or writes."""
    from lorasb.study.study import Study

    Study.load.cache_clear()


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the project without results, as working directory."""
    root = copy_of_project(tmp_path / "project")
    monkeypatch.chdir(root)
    return root


def copy_of_project(root: Path) -> Path:
    """A copy of the project without results."""
    ignore = shutil.ignore_patterns("__pycache__", "*.egg-info")
    for name in ("config", "workflow", "profiles", "analysis", "lorasb", "resources"):
        shutil.copytree(ROOT / name, root / name, ignore=ignore)
    shutil.copy(ROOT / "Snakefile", root / "Snakefile")
    return root
