"""Which cells a study takes from a release: those that would be the same."""

from __future__ import annotations

import json

import pandas as pd
import pytest

from lorasb.errors import UserError
from lorasb.files import write_csv
from lorasb.study import hashes
from lorasb.study.paths import RELEASED
from lorasb.study.released import note
from lorasb.study.study import Study

STUDY = "glue-minilm-smoke"
FILE = f"config/studies/{STUDY}.yaml"
CELLS = 8  # of two tasks


def changed(root, file, old, new):
    path = root / file
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))


def release(study: Study, **failed: str) -> None:
    """What a release says of the study's cells; those of a variant in `failed` have no result."""
    rows = []
    for cell in study.cells:
        config = {"task": study.task_data[cell.task]}
        facts = {"cell_hash": hashes.cell_hash(study, cell), "config": json.dumps(config)}
        rows.append(cell.columns | ({} if cell.variant in failed.values() else facts))
    write_csv(f"{RELEASED.format(study='theirs')}/origins.csv", pd.DataFrame(rows))


@pytest.fixture
def theirs(project):
    """A release of a study that keeps no updates; the study itself takes cells from it."""
    changed(project, FILE, "points: 3", "points: 0")
    changed(project, FILE, "models:", "released: theirs\nmodels:")
    release(Study(STUDY))
    return project


def taken() -> int:
    study = Study(STUDY)
    assert {*study.scored_cells("test")} == {*study.cells} - study.released_cells
    return len(study.released_cells)


def test_cells_under_the_same_settings_are_taken(theirs):
    assert taken() == len(Study(STUDY).cells) == CELLS
    assert note(Study(STUDY)).startswith("8 of 8 cells are taken from results/published/theirs;")


def test_none_is_taken_where_no_release_is_named(theirs):
    changed(theirs, FILE, "released: theirs", "released: null")
    assert taken() == 0
    assert note(Study(STUDY)) == ""


@pytest.mark.parametrize(
    ("file", "old", "new", "left"),
    [
        (FILE, "steps: 8", "steps: 9", 0),
        (FILE, 'lora: "1e-3"', 'lora: "2e-3"', 6),
        (FILE, "samples: 16", "samples: 8", 6),
        (FILE, "seeds: [0]", "seeds: [1]", 0),
        ("config/tasks/mrpc.yaml", "[accuracy, f1]", "[accuracy]", 4),
        ("config/tasks/mrpc.yaml", "label: MRPC", "label: Paraphrases", 8),
    ],
)
def test_what_was_trained_or_scored_otherwise_is_run(theirs, file, old, new, left):
    changed(theirs, file, old, new)
    assert taken() == left


def test_cells_without_a_result_are_run(theirs):
    release(Study(STUDY), failed="lora-xs")
    assert taken() == 6


def test_cells_whose_updates_are_kept_are_run(theirs):
    changed(theirs, FILE, "points: 0", "points: 3")
    release(Study(STUDY))
    assert taken() == 0


def test_a_release_that_is_not_there_is_one_line(theirs):
    changed(theirs, FILE, "released: theirs", "released: their")
    with pytest.raises(UserError, match=r"smoke\.yaml: released: unknown release 'their'; did you"):
        taken()
