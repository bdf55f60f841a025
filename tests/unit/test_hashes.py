"""No number moves unnoticed: the hashes of every shipped study, in the order of its cells."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lorasb import grid, resolve
from lorasb.config import read as config

REFERENCE = Path(__file__).resolve().parent.parent / "reference" / "hashes.json"


def hashes(study: str) -> dict[str, list[str]]:
    """Each kind of hash of one study; of the same thing once."""
    cells = grid.final_cells(study)
    tasks = list(dict.fromkeys((cell.model, cell.task) for cell in cells))
    starts = [(*task, n) for task in tasks for n in samples(study, cells, *task)]
    swept = grid.sweep_cells(study) if sweeps(study) else []
    ranked = any(cell.rank for cell in cells)
    return {
        "data": [resolve.data_hash(study, *task) for task in tasks],
        "gradients": [resolve.gradient_hash(study, *start) for start in starts],
        "factors": [resolve.factors_hash(study, *start) for start in starts],
        "weight_factors": [
            resolve.weight_factors_hash(study, model)
            for model in dict.fromkeys(model for model, _ in tasks)
            if ranked
        ],
        "cells": [resolve.cell_hash(cell) for cell in cells],
        "sweep": [resolve.cell_hash(cell) for cell in swept],
        "scores": [resolve.score_hash(task) for _, task in tasks],
    }


def samples(study: str, cells: list[grid.Cell], model: str, task: str) -> list[int]:
    """The numbers of samples from which gradients of a task are estimated."""
    variants = {
        cell.variant
        for cell in cells
        if resolve.variant_method(cell.variant).needs & resolve.NEEDS_GRADIENT
    }
    return sorted({resolve.gradient_samples(study, model, task, name) for name in variants})


def sweeps(study: str) -> bool:
    """Whether the study has a sweep that it can run."""
    data = config.load_study(study)
    empty = [config.load_task_config(t)["splits"]["selection"]["rows"] == 0 for t in data["tasks"]]
    return "sweep" in data and not any(empty)


def test_every_study_is_in_the_reference():
    assert sorted(json.loads(REFERENCE.read_text())) == config.names("studies")


@pytest.mark.parametrize("study", config.names("studies"))
def test_hashes_are_those_of_the_reference(study):
    assert hashes(study) == json.loads(REFERENCE.read_text())[study]
