"""No number moves unnoticed: the hashes of every shipped study, in the order of its cells."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lorasb.config.read import names
from lorasb.methods.method import NEEDS_GRADIENT
from lorasb.study import hashes
from lorasb.study.study import Study

REFERENCE = Path(__file__).resolve().parents[2] / "reference" / "hashes.json"


def found(study: Study) -> dict[str, list[str]]:
    """Each kind of hash of one study; of the same thing once."""
    pairs = list(study.pairs)
    starts = [(*pair, number) for pair in pairs for number in samples(study, pair[1])]
    return {
        "data": [hashes.data_hash(study, *pair) for pair in pairs],
        "gradients": [hashes.gradient_hash(study, *start) for start in starts],
        "factors": [hashes.factors_hash(study, *start) for start in starts],
        "weight_factors": [hashes.weight_factors_hash(study, model) for model in study.models],
        "cells": [hashes.cell_hash(study, cell) for cell in study.cells],
        "sweep": [hashes.cell_hash(study, c) for c in study.sweep_cells] if sweeps(study) else [],
        "scores": [hashes.score_hash(study, task) for _, task in pairs],
    }


def samples(study: Study, task: str) -> list[int]:
    """The numbers of samples from which gradients of a task are estimated."""
    started = [v.name for v in study.variants.values() if v.method.needs & NEEDS_GRADIENT]
    return sorted({study.samples(task, name) for name in started})


def sweeps(study: Study) -> bool:
    """Whether the study has a sweep that it can run."""
    empty = [task.splits["selection"].rows == 0 for task in study.tasks.values()]
    return study.sweep is not None and not any(empty)


def test_every_study_is_in_the_reference():
    assert sorted(json.loads(REFERENCE.read_text())) == names("studies")


@pytest.mark.parametrize("study", names("studies"))
def test_hashes_are_those_of_the_reference(study):
    assert found(Study.load(study)) == json.loads(REFERENCE.read_text())[study]
