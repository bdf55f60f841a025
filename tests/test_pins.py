"""All version pins say the same."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
import yaml

from lorasb.provenance import PINNED

ROOT = Path(__file__).resolve().parent.parent


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


PINS = {
    normal(name): version
    for line in (ROOT / "constraints.txt").read_text().splitlines()
    if "==" in line
    for name, version in [line.strip().split("==")]
}


@pytest.mark.parametrize("path", sorted((ROOT / "workflow/envs").glob("*.yaml")), ids=str)
def test_rule_environments_use_the_constraints(path):
    (packages,) = [
        entry["pip"]
        for entry in yaml.safe_load(path.read_text())["dependencies"]
        if isinstance(entry, dict)
    ]
    assert packages
    for package in packages:
        name, version = package.split("==")
        assert PINS[normal(name)] == version, name


def test_every_dependency_is_pinned():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = sum(project["optional-dependencies"].values(), project["dependencies"])
    for requirement in set(wanted) - {"lorasb[suite,docs]"}:
        name = re.match(r"[\w.-]+", requirement)
        assert name
        assert normal(name[0]) in PINS, requirement


def test_libraries_that_make_numbers_are_pinned_alike():
    # a wheel has no constraints.txt
    assert {normal(name): version for name, version in PINNED.items()}.items() <= PINS.items()


def test_torch_is_the_one_that_the_readme_was_measured_with():
    assert PINS["torch"] == "2.13.0"


def test_environment_file_installs_from_the_constraints():
    text = (ROOT / "environment.yml").read_text()
    assert "-c constraints.txt" in text


def test_docker_file_copies_what_is_there_and_takes_a_python_that_is_allowed():
    text = (ROOT / "Dockerfile").read_text()
    copied = [
        name for line in re.findall(r"^COPY (.+) \S+$", text, re.MULTILINE) for name in line.split()
    ]
    assert {"pyproject.toml", "constraints.txt", "Makefile"} < set(copied)
    assert all((ROOT / name).exists() for name in copied)
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    (version,) = re.findall(r"^FROM python:([\d.]+)", text, re.MULTILINE)
    assert f"python={version}" in environment
    assert version in (ROOT / ".github/workflows/ci.yml").read_text()
