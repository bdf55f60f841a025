"""Real data sets and a real model without a network, where the folder `../shared` has them."""

from __future__ import annotations

import copy
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

SHARED = Path(__file__).resolve().parent.parent.parent / "shared"
TABLES = Path("data/LLM-Adapters")  # of a task that reads them as they lie in ../shared
# file of LLM-Adapters -> its rows in ../shared; the training rows there are not all
LLM_ADAPTERS = {
    "ft-training_set/commonsense_170k.json": "commonsense_170k_partial/train",
    "dataset/hellaswag/test.json": "hellaswag_approx/test",
} | {
    f"dataset/{name}/test.json": f"{name}/test"
    for name in (
        "boolq",
        "piqa",
        "social_i_qa",
        "winogrande",
        "ARC-Easy",
        "ARC-Challenge",
        "openbookqa",
    )
}


@pytest.fixture(scope="session")
def hf_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Hugging Face cache with GLUE and all-MiniLM-L6-v2; for a process, set it as HF_HOME."""
    script = SHARED / "offline_hub.py"
    if not script.exists():
        pytest.skip("needs real data from ../shared, which this machine lacks")
    folder = tmp_path_factory.mktemp("hf_home")
    subprocess.run([sys.executable, str(script), str(folder)], check=True, capture_output=True)
    return folder


@pytest.fixture(scope="session")
def llm_adapters(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the commonsense files of LLM-Adapters, under the names they have there."""
    if not (SHARED / "data/LLM-Adapters").exists():
        pytest.skip("needs real data from ../shared, which this machine lacks")
    folder = tmp_path_factory.mktemp("llm_adapters")
    for name, rows in LLM_ADAPTERS.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        table = pq.read_table(SHARED / f"data/LLM-Adapters/{rows}.parquet")
        (folder / name).write_text(json.dumps(table.to_pylist(), indent=4))
    return folder


def offline_config(data: dict[str, Any], folder: Path) -> dict[str, Any]:
    """A task's configuration, changed to run on the rows that there are without a network.

    `folder` is that of `llm_adapters`.
    """
    data = copy.deepcopy(data)
    # some files there have fewer rows than the hub's
    data["source"].pop("rows", None)
    if data["source"].get("folder") == str(TABLES):
        data["source"]["folder"] = str(SHARED / TABLES)
    elif data["source"]["loader"] == "files":
        data["source"]["folder"] = str(folder)
        data["source"]["files"]["train"]["rows"] = None
    if data["source"].get("path") == "meta-math/MetaMathQA":
        data["splits"]["train"]["rows"] = 6  # of 10
        data["splits"]["selection"]["rows"] = 3
        math = data["splits"]["test"]["sets"]["math"]
        math["source"] = math["source"] | {"path": "hendrycks/competition_math"}
    return data


@pytest.fixture
def offline_hub(hf_home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """`hf_home` as the cache that `datasets` and tokenizers of this process look in."""
    import datasets.config
    import huggingface_hub.constants

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", hf_home / "datasets")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(hf_home / "hub"))
    return hf_home
