"""The tables of updates and gradients of cells that were kept along training."""

from __future__ import annotations

import pandas as pd
import pytest
from datasets import Dataset

from lorasb.probes.gradients import Probe
from lorasb.probes.replay import replay
from lorasb.stages.probe_directions import probe_directions
from lorasb.study.cells import Cell
from lorasb.study.paths import DATA, DIRECTIONS, GRADIENT_PROBES
from lorasb.study.study import Study
from tests.unit import kept

RANDOM = ["random_cosine", "random_low", "random_high", "random_error"]


@pytest.fixture
def finished(project):
    """Full fine-tuning and another method, with the training rows."""
    cells = [kept.keep(variant) for variant in ("full", "lora-sb")]
    folder = cells[0].path(DATA)
    folder.mkdir(parents=True)
    Dataset.from_list(kept.rows()).to_parquet(folder / "train.parquet")
    kept.record(folder / "train.parquet")
    return cells


def tables(cell: Cell) -> tuple[pd.DataFrame, pd.DataFrame]:
    probe_directions(cell.study, cell.model, cell.task, available=True)
    return pd.read_csv(cell.path(DIRECTIONS)), pd.read_csv(cell.path(GRADIENT_PROBES))


def test_rule_writes_updates_of_ranked_cells_and_gradients_of_all(finished):
    directions, gradients = tables(finished[1])
    steps = len(kept.STEPS)
    assert len(directions) == steps * 28
    assert set(directions["variant"]) == {"lora-sb"}
    assert len(gradients) == 2 * steps * 28
    last = directions[directions["step"] == 5]
    assert last["cosine"].between(-1, 1).all()
    # at the start full fine-tuning has not moved, and LoRA-SB has
    first = directions[directions["step"] == 0]
    assert first["cosine"].isna().all()
    assert (first["update_norm"] > 0).all()
    assert (first["full_norm"] == 0).all()


def test_seed_without_its_reference_has_gradients_alone(finished):
    _, with_updates = tables(finished[1])
    (finished[0].folder / "snapshots.safetensors").unlink()
    directions, gradients = tables(finished[1])
    assert directions.empty
    assert set(gradients["variant"]) == {"lora-sb"}
    # its random columns do not depend on whether updates are compared
    same = with_updates[with_updates["variant"] == "lora-sb"].reset_index(drop=True)
    pd.testing.assert_frame_equal(gradients[RANDOM], same[RANDOM], check_exact=True)


def test_updates_and_gradients_are_held_against_the_same_random_bases(finished):
    directions, gradients = tables(finished[1])
    full, cell = finished
    probe = Probe(kept.resolved(), kept.rows(), cell.seed, kept.study().largest_rank)
    *_, moved = replay(kept.study(), full, kept.ROWS)
    *_, moment = replay(kept.study(), cell, kept.ROWS)
    for matrices, table, column in (
        (probe.gradients(moment), gradients[gradients["variant"] == "lora-sb"], "random_cosine"),
        (moved.updates, directions, "random"),
    ):
        last = table[table["step"] == 5].set_index("module")[column]
        for name, value in last.items():
            expected = probe.random.control(matrices[name], cell.rank).mean
            # seven digits in the table
            assert value == pytest.approx(expected, rel=1e-6), (column, name)


def test_study_that_keeps_nothing_has_empty_tables(finished, project):
    path = project / "config/defaults.yaml"
    text = path.read_text()
    assert "points: 6" in text
    path.write_text(text.replace("points: 6", "points: 0"))
    Study.load.cache_clear()
    directions, gradients = tables(finished[1])
    assert directions.empty
    assert gradients.empty
    assert {"step", "module", "cosine"} <= set(directions)
