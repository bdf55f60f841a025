"""Real data sets and a real model without a network, where the folder `../shared` has them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SHARED = Path(__file__).resolve().parent.parent.parent / "shared"


@pytest.fixture(scope="session")
def hf_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Hugging Face cache with GLUE and all-MiniLM-L6-v2; for a process, set it as HF_HOME."""
    script = SHARED / "offline_hub.py"
    if not script.exists():
        pytest.skip("needs real data from ../shared, which this machine lacks")
    folder = tmp_path_factory.mktemp("hf_home")
    subprocess.run([sys.executable, str(script), str(folder)], check=True, capture_output=True)
    return folder


@pytest.fixture
def offline_hub(hf_home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """`hf_home` as the cache that `datasets` and tokenizers of this process look in."""
    import datasets.config
    import huggingface_hub.constants

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", hf_home / "datasets")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(hf_home / "hub"))
    return hf_home
