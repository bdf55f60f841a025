import json

import pytest

from lorasb.errors import UserError
from lorasb.stages.publish import publish
from lorasb.study.cells import Cell
from lorasb.study.paths import FIGURES, TABLES
from lorasb.study.study import Study

STUDY = "glue-minilm-smoke"


def cells() -> list[Cell]:
    return Study.load(STUDY).cells


@pytest.fixture
def finished(project):
    """A study with a provenance in each cell, one table and one figure."""
    for index, cell in enumerate(cells()):
        cell.folder.mkdir(parents=True)
        facts = {"commit": "abc", "uncommitted_changes": False, "cell_hash": str(index)}
        (cell.folder / "provenance.json").write_text(json.dumps(facts))
    for pattern, name in ((TABLES, "runs.csv"), (FIGURES, "loss.png")):
        folder = project / pattern.format(study=STUDY)
        folder.mkdir(parents=True)
        (folder / name).write_text(name)
    return project


def test_tables_figures_and_their_origin_are_copied(finished):
    publish(STUDY)
    target = finished / "results/published" / STUDY
    assert (target / "tables/runs.csv").read_text() == "runs.csv"
    assert (target / "figures/loss.png").exists()
    (origin,) = json.loads((target / "provenance.json").read_text())["origins"]
    assert origin == {
        "cells": len(cells()),
        "commit": "abc",
        "uncommitted_changes": False,
    }


def test_cells_of_uncommitted_code_are_refused(finished):
    path = cells()[2].folder / "provenance.json"
    path.write_text(path.read_text().replace("false", "true"))
    with pytest.raises(UserError, match="not committed"):
        publish(STUDY)
    assert not (finished / "results/published").exists()


def test_rates_chosen_under_other_settings_are_refused(finished, monkeypatch):
    monkeypatch.setattr("lorasb.stages.publish.stale_rates", lambda study: ["mrpc, full, rank 0"])
    with pytest.raises(UserError, match=r"mrpc, full, rank 0.*'sweep' again"):
        publish(STUDY)
    assert not (finished / "results/published").exists()


def test_missing_cell_is_named(finished):
    cell = cells()[0]
    (cell.folder / "provenance.json").unlink()
    with pytest.raises(UserError, match=str(cell.folder)):
        publish(STUDY)


def test_cells_that_are_not_there_are_counted_where_that_is_asked_for(finished):
    cell = cells()[0]
    (cell.folder / "provenance.json").unlink()
    publish(STUDY, available=True)
    facts = json.loads((finished / "results/published" / STUDY / "provenance.json").read_text())
    assert facts["cells_without_results"] == 1
    assert sum(origin["cells"] for origin in facts["origins"]) == len(cells()) - 1
