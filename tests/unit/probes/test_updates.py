"""Direction measures against float64 twins written out, and on a case with a known answer."""

from __future__ import annotations

import math

import pandas as pd
import pytest
import torch
from datasets import Dataset

from lorasb import grid
from lorasb.grid import Cell
from lorasb.linalg.measures import Control, cosine
from lorasb.probes.updates import (
    compare,
    probe_directions,
    random_controls,
    random_cosines,
    singular_values,
)
from tests.unit import kept

CELL = Cell("s", "m", "t", "v", 3, "1e-2", 0)


def matrix(seed: int, shape: tuple[int, int] = (20, 12)) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_random_control_is_the_cosine_with_the_projection():
    """Twin: form B B^T F A^T A and take its cosine with F."""
    full = torch.stack([matrix(3), matrix(4)])
    found = random_cosines(full, 3, 2, torch.Generator().manual_seed(5))
    random = torch.Generator().manual_seed(5)
    for draw in range(2):
        b, _ = torch.linalg.qr(torch.randn(20, 3, generator=random))
        a, _ = torch.linalg.qr(torch.randn(12, 3, generator=random))
        for index in range(2):
            projected = b @ b.T @ full[index] @ a @ a.T
            # float32 products of size 1
            assert found[draw, index].item() == pytest.approx(
                cosine(full[index], projected), abs=1e-5
            )


def test_random_control_has_its_expected_size():
    # E |B^T F A^T|^2 / |F|^2 = r^2 / (m n) for every F
    cosines = random_cosines(matrix(6)[None], 4, 2000, torch.Generator().manual_seed(7))
    # 2,000 draws: the standard error of the mean square is about 1 %
    assert cosines.square().mean().item() == pytest.approx(16 / 240, rel=0.05)


def test_one_row_a_step_and_weight():
    full = {1: {"a": matrix(0), "b": matrix(1)}, 5: {"a": matrix(2), "b": matrix(3)}}
    controls = random_controls(full, [CELL.rank], draws=4, seed=0)
    rows = compare(CELL, full, full, controls, singular_values(full))
    assert [(row["step"], row["module"]) for row in rows] == [
        (1, "a"),
        (1, "b"),
        (5, "a"),
        (5, "b"),
    ]
    for row in rows:
        assert row["cosine"] == pytest.approx(1)
        assert row["random_low"] <= row["random"] <= row["random_high"] < row["best_rank"] < 1
        assert row["update_norm"] == row["full_norm"] > 0
        # the same matrix, once in float32
        assert row["update_effective_rank"] == pytest.approx(row["full_effective_rank"], rel=1e-5)


def test_weights_that_did_not_move_have_no_direction():
    still = {0: {"a": torch.zeros(20, 12)}}
    controls = random_controls(still, [CELL.rank], draws=2, seed=0)
    (row,) = compare(CELL, {0: {"a": matrix(0)}}, still, controls, singular_values(still))
    assert all(math.isnan(row[name]) for name in ("cosine", "random", "best_rank"))
    assert row["update_norm"] > 0


def test_one_control_a_rank():
    full = {1: {"a": matrix(0)}}
    controls = random_controls(full, [3, 5], draws=2, seed=0)
    assert set(controls) == {(3, 1, "a"), (5, 1, "a")}
    assert isinstance(controls[3, 1, "a"], Control)
    assert controls[3, 1, "a"].mean < controls[5, 1, "a"].mean


@pytest.fixture
def finished(project):
    """Full fine-tuning and another method, with the training rows."""
    cells = [kept.keep(variant) for variant in ("full", "lora-sb")]
    folder = cells[0].path(grid.DATA)
    folder.mkdir(parents=True)
    Dataset.from_list(kept.rows()).to_parquet(folder / "train.parquet")
    return cells


def tables(cell: Cell) -> tuple[pd.DataFrame, pd.DataFrame]:
    probe_directions(cell.study, cell.model, cell.task, available=True)
    return pd.read_csv(cell.path(grid.DIRECTIONS)), pd.read_csv(cell.path(grid.GRADIENT_PROBES))


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
    (finished[0].folder / "snapshots.safetensors").unlink()
    directions, gradients = tables(finished[1])
    assert directions.empty
    assert set(gradients["variant"]) == {"lora-sb"}


def test_study_that_keeps_nothing_has_empty_tables(finished, project):
    path = project / "config/defaults.yaml"
    path.write_text(path.read_text().replace("points: 6", "points: 0"))
    directions, gradients = tables(finished[1])
    assert directions.empty
    assert gradients.empty
    assert {"step", "module", "cosine"} <= set(directions)
