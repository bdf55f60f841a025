"""Versions that differ from the pinned ones are said."""

from __future__ import annotations

import pytest

from lorasb import provenance
from lorasb.provenance import PINNED, other_versions, versions_line


@pytest.mark.parametrize("name", ["torch", "peft", "math-verify"])
def test_another_version_is_named_beside_the_pinned_one(name):
    assert other_versions(PINNED | {name: "0.0.1"}) == f"{name} 0.0.1 (pinned {PINNED[name]})"


def test_pinned_versions_and_their_builds_are_not():
    assert other_versions(PINNED) == ""
    assert other_versions({"torch": f"{PINNED['torch']}+cpu", "snakemake": "1"}) == ""


def test_several_are_one_line(monkeypatch):
    installed = PINNED | {"torch": "2.14.1+cu130", "numpy": "2.5.0"}
    monkeypatch.setattr(provenance, "installed_versions", lambda: installed)
    line = versions_line()
    assert "torch 2.14.1+cu130 (pinned 2.13.0), numpy 2.5.0 (pinned 2.4.6)" in line
    assert "constraints.txt" in line
    assert "\n" not in line
    assert provenance.provenance()["other_versions"] == other_versions(installed)


def test_a_package_that_is_not_installed_is_not_recorded(monkeypatch):
    monkeypatch.setattr(provenance, "OTHERS", ("lorasb", "no-such-package"))
    assert "no-such-package" not in provenance.installed_versions()
    assert provenance.installed_versions()["torch"]
