"""Direction measures against float64 twins written out, and on a case with a known answer."""

from __future__ import annotations

import math

import pytest
import torch

from lorasb.directions import (
    Control,
    best_rank_cosine,
    compare,
    cosine,
    random_controls,
    random_cosines,
)
from lorasb.grid import Cell

CELL = Cell("s", "m", "t", "v", 3, "1e-2", 0)


def matrix(seed: int, shape: tuple[int, int] = (20, 12)) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_cosine_equals_its_definition():
    a, b = matrix(0), matrix(1)
    dot = sum(x * y for x, y in zip(a.flatten().tolist(), b.flatten().tolist(), strict=True))
    norms = math.sqrt((a.double() ** 2).sum()) * math.sqrt((b.double() ** 2).sum())
    assert cosine(a, b) == pytest.approx(dot / norms, rel=1e-12)
    assert cosine(a, -2 * a) == pytest.approx(-1)


def test_cosine_with_a_zero_update_is_not_a_number():
    assert math.isnan(cosine(torch.zeros(3, 3), matrix(0, (3, 3))))


@pytest.mark.parametrize("rank", [1, 3, 12])
def test_best_rank_cosine_is_that_of_the_truncated_svd(rank):
    a = matrix(2).double()
    u, s, v = torch.linalg.svd(a, full_matrices=False)
    best = u[:, :rank] @ torch.diag(s[:rank]) @ v[:rank]
    assert best_rank_cosine(a, rank) == pytest.approx(cosine(a, best), rel=1e-10)


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
    controls = random_controls(full, [CELL], draws=4, seed=0)
    rows = compare(CELL, full, full, controls[3])
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


def test_one_control_a_rank():
    full = {1: {"a": matrix(0)}}
    other = Cell("s", "m", "t", "w", 5, "1e-2", 0)
    controls = random_controls(full, [CELL, other, CELL], draws=2, seed=0)
    assert set(controls) == {3, 5}
    assert isinstance(controls[3][1, "a"], Control)
    assert controls[3][1, "a"].mean < controls[5][1, "a"].mean
