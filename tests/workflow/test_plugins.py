"""The package, the method, the task and the study of docs/plugins.md, installed as it says."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pandas as pd
import pytest

from tests.workflow.conftest import ROOT, copy_project, environment

pytestmark = pytest.mark.slow

BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
FILES = ("lorasb_frozen_a.py", "pyproject.toml")
OWN = ("methods/frozen-a.yaml", "tasks/short.yaml", "studies/mine.yaml")
BESIDE = "studies/beside.yaml"
FOLDER = "results/mine/runs/quickstart-llama/short/frozen-a/r4/lr5e-3/seed0"


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    """A copy of the project, and an environment with the package and the folder of its own."""
    folder = tmp_path_factory.mktemp("plugin")
    texts = [text for _, text in BLOCK.findall((ROOT / "docs/plugins.md").read_text())]
    # in their order on the page, with a block of commands before the last
    del texts[len(FILES) + len(OWN)]
    own = (folder / "own" / file for file in (*OWN, BESIDE))
    paths = [*(folder / "package" / file for file in FILES), *own]
    for path, text in zip(paths, texts, strict=False):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    assert len(texts[0].splitlines()) <= 40
    options = ("--quiet", "--no-deps", "--no-index", "--no-build-isolation")
    site = folder / "site"
    command = [sys.executable, "-m", "pip", "install", *options, "--target", site]
    subprocess.run([*command, folder / "package"], check=True)
    variables = environment()
    path = os.pathsep.join([str(site), variables.get("PYTHONPATH", "")])
    variables |= {"PYTHONPATH": path, "LORASB_CONFIG": str(folder / "own")}
    return copy_project(folder / "project"), variables


def lorasb(root: Path, variables: dict[str, str], *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "lorasb", *words]
    return subprocess.run(
        command, cwd=root, env=variables, capture_output=True, text=True, check=False
    )


def test_a_method_of_a_package_is_counted_trained_and_scored(installed):
    root, variables = installed
    words = ("count", "--model", "quickstart-llama", "--method", "frozen-a", "--rank", "4")
    done = lorasb(root, variables, *words)
    assert done.returncode == 0, done.stderr
    # four layers of outputs: 4 x 128, 2 x 256 and 128
    assert f" {4 * 4 * (4 * 128 + 2 * 256 + 128):,} " in done.stdout
    command = ["snakemake", "--cores", "1", "--config", "study=mine", "--"]
    target = "results/mine/scores/quickstart-llama/short/test.metrics.csv"
    done = subprocess.run(
        [*command, target], cwd=root, env=variables, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert (root / target).exists()
    config = json.loads((root / FOLDER / "config.json").read_text())
    assert config["variant"]["label"] == "LoRA, A frozen"
    assert config["task"]["label"] == "Short sentences"


def test_beside_a_release_its_method_alone_is_swept_and_run(installed):
    root, variables = installed
    (root / "results").mkdir(exist_ok=True)
    release = root / "results/published"
    release.symlink_to(ROOT / "results/published")
    rates = Path(variables["LORASB_CONFIG"]) / "studies/beside.selected_lr.tsv"
    text = (root / "config/studies/peft-comparison.selected_lr.tsv").read_text()
    rates.write_text(text, encoding="utf-8")
    assert jobs(root, variables, "sweep") == {"frozen-a": 3}
    # as if the sweep had chosen
    table = pd.read_csv(rates, sep="\t", dtype=str)
    row = table.iloc[-1].to_dict() | {"variant": "frozen-a", "rank": "2", "lr": "5e-3"}
    table.loc[len(table)] = row
    table.to_csv(rates, sep="\t", index=False)
    assert jobs(root, variables, "all") == {"frozen-a": 3}


def jobs(root: Path, variables: dict[str, str], target: str) -> Counter[str]:
    """The variants of the cells that are to be trained, with their number."""
    command = ["snakemake", "--cores", "1", "--dry-run", target, "--config", "study=beside"]
    done = subprocess.run(
        command, cwd=root, env=variables, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    folder = r"results/beside/runs/[^/]+/[^/]+/([^/]+)/[^/]+/[^/]+/seed\d+/train\.record\.json"
    cells = re.finditer(folder, done.stdout + done.stderr)
    return Counter({cell.group(): cell.group(1) for cell in cells}.values())


def test_without_the_package_its_method_is_unknown(installed):
    root, variables = installed
    done = lorasb(root, variables | {"PYTHONPATH": str(root)}, "plan", "--study", "mine")
    assert done.returncode == 1
    assert "unknown method 'frozen-a'" in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("value", "message"),
    [("nowhere", "LORASB_CONFIG=nowhere: no such folder"), ("config", "has that name; rename it")],
)
def test_a_folder_that_cannot_be_read_beside_config_is_one_line(installed, value, message):
    root, variables = installed
    done = lorasb(root, variables | {"LORASB_CONFIG": value}, "plan", "--study", "quickstart")
    assert done.returncode == 1
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1
