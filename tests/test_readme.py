"""The README's blocks do what they say."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parent.parent
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.S)


def blocks(language: str) -> list[str]:
    return [text for name, text in BLOCKS if name == language]


def shell_lines() -> list[str]:
    lines = "\n".join(blocks("bash")).splitlines()
    return [line.split("#")[0].strip() for line in lines if line.strip()]


def call(*command: str, cwd: Path = ROOT) -> str:
    """Run a command that must succeed; its output."""
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("code", blocks("python"))
def test_python_block_runs(code, tmp_path):
    code = code.replace('"resources/', f'"{ROOT}/resources/')
    call(sys.executable, "-c", code, cwd=tmp_path)
    assert (tmp_path / "adapter/adapter_model.safetensors").exists()


@pytest.mark.parametrize("line", [line for line in shell_lines() if line.startswith("make")])
def test_make_target_exists(line):
    call("make", "--dry-run", *line.split()[1:])


@pytest.mark.parametrize("line", [line for line in shell_lines() if line.startswith("snakemake")])
def test_snakemake_line_plans(line):
    call(sys.executable, "-m", "snakemake", *line.split()[1:], "--dry-run", "--quiet")


@pytest.mark.parametrize("line", [line for line in shell_lines() if line.startswith("python -m")])
def test_lorasb_line_runs(line):
    assert " 2,064,384 " in call(sys.executable, *line.split()[1:])


def test_bibtex_has_the_entries_of_the_citation_file():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    (paper,) = citation["references"]
    people = [f"{one['family-names']}, {one['given-names']}" for one in paper["authors"]]
    (owner,) = citation["authors"]
    article, software = ("".join(blocks("bibtex")).split("@")[part] for part in (1, 2))
    assert f"author = {{{' and '.join(people)}}}" in " ".join(article.split())
    assert f"title = {{{paper['title']}}}" in " ".join(article.split())
    assert f"year = {{{paper['year']}}}" in article
    assert paper["identifiers"][0]["value"].removeprefix("arXiv:") in article
    assert f"author = {{{{{owner['name']}}}}}" in software
    assert f"title = {{{citation['title']}}}" in software
    assert f"version = {{{citation['version']}}}" in software
