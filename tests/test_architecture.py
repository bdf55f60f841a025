"""Data flows one way: config, workflow, lorasb, results, analysis."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from lorasb.config import names
from lorasb.registry import get_method, method_names

ROOT = Path(__file__).resolve().parent.parent


def imported(path: Path) -> set[str]:
    """Top-level names of everything that a file imports."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module.split(".")[0])
    return found


@pytest.mark.parametrize("path", sorted((ROOT / "lorasb").rglob("*.py")), ids=str)
def test_library_knows_neither_workflow_nor_analysis(path):
    assert not imported(path) & {"snakemake", "analysis", "matplotlib"}


@pytest.mark.parametrize("path", sorted((ROOT / "analysis").rglob("*.py")), ids=str)
def test_analysis_needs_tables_only(path):
    assert not imported(path) & {"lorasb", "torch", "transformers", "peft", "datasets"}


@pytest.mark.parametrize(
    "name",
    [
        *("train", "order", "predict", "score", "collect", "stages/train", "stages/base"),
        *("directions", "probe", "replay", "measures"),
    ],
)
def test_shared_code_names_no_method(name):
    text = (ROOT / f"lorasb/{name}.py").read_text(encoding="utf-8")
    strings = {
        node.value
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }
    assert not strings & {"full", "lora", "lora-xs", "lora-sb", "peft", "base"}


def test_import_is_cheap():
    code = "import sys, lorasb, lorasb.grid, lorasb.resolve; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"torch", "transformers", "peft", "datasets", "evaluate"} & set(done.stdout.split())


@pytest.mark.parametrize("kind", ["figures", "tables"])
def test_every_row_has_a_script_and_a_caption_and_every_script_a_row(kind):
    rows = yaml.safe_load((ROOT / f"workflow/{kind}.yaml").read_text(encoding="utf-8"))
    scripts = (ROOT / "analysis" / kind).glob("*.py")
    listed = sorted(row["name"] for row in rows)
    assert listed == sorted(path.stem for path in scripts if path.stem != "__init__")
    for name in listed:
        assert (ROOT / f"workflow/report/{name}.rst").exists()


def test_every_method_is_a_file_with_a_docstring_and_some_variant_uses_it():
    for name in method_names():
        method = get_method(name)
        assert method.__doc__
        assert sys.modules[method.__module__].__doc__
    variants = names("methods")
    assert {"full", "lora", "lora-xs", "lora-sb"} <= set(variants)
