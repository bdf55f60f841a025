"""Measures of matrices against float64 twins written out, and on cases with a known answer."""

from __future__ import annotations

import math

import pytest
import torch

from lorasb.linalg.measures import (
    RandomBases,
    best_rank_cosine,
    cosine,
    effective_rank,
    leading_subspaces,
    orthonormal,
    principal_angles,
    projection,
    projection_error,
    relative_error,
    singular_values,
)


def matrix(seed: int, shape: tuple[int, int] = (20, 12)) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def bases(rank: int) -> tuple[torch.Tensor, torch.Tensor]:
    return matrix(8, (20, rank)), matrix(9, (12, rank))


def test_cosine_equals_its_definition():
    a, b = matrix(0), matrix(1)
    dot = sum(x * y for x, y in zip(a.flatten().tolist(), b.flatten().tolist(), strict=True))
    norms = math.sqrt((a.double() ** 2).sum()) * math.sqrt((b.double() ** 2).sum())
    assert cosine(a, b) == pytest.approx(dot / norms, rel=1e-12)
    assert cosine(a, -2 * a) == pytest.approx(-1)


def test_cosine_with_a_zero_update_is_not_a_number():
    assert math.isnan(cosine(torch.zeros(3, 3), matrix(0, (3, 3))))


def test_relative_error_knows_the_size_that_the_cosine_forgets():
    a = matrix(0)
    assert relative_error(3 * a, a) == pytest.approx(2)
    assert relative_error(torch.zeros_like(a), a) == 1
    assert math.isinf(relative_error(a, torch.zeros_like(a)))


@pytest.mark.parametrize("rank", [1, 3, 12])
def test_best_rank_cosine_is_that_of_the_truncated_svd(rank):
    a = matrix(2).double()
    u, s, v = torch.linalg.svd(a, full_matrices=False)
    best = u[:, :rank] @ torch.diag(s[:rank]) @ v[:rank]
    found = best_rank_cosine(s, rank)
    assert found == pytest.approx(cosine(a, best), rel=1e-10)
    assert projection_error(found) == pytest.approx(relative_error(best, a), abs=1e-7)


@pytest.mark.parametrize(
    ("values", "expected"),
    [([3.0, 3.0, 3.0, 0.0], 3.0), ([5.0, 0.0], 1.0), ([2.0, 1.0], 3 / 2 ** (2 / 3))],
)
def test_effective_rank_of_known_spectra(values, expected):
    assert effective_rank(torch.tensor(values)) == pytest.approx(expected)


def test_effective_rank_of_nothing_is_not_a_number():
    assert math.isnan(effective_rank(torch.zeros(3)))


def test_projection_is_the_best_that_the_subspace_has():
    """Twin: least squares over X in B X A, by vectorisation, float64."""
    a, (B, right) = matrix(3).double(), (base.double() for base in bases(3))
    found = projection(a, orthonormal((B, right)))
    design = torch.kron(B, right)  # row-major vec(B X A) = (B kron A^T) vec(X), A = right^T
    solution = torch.linalg.lstsq(design, a.flatten()[:, None]).solution
    torch.testing.assert_close(found, (design @ solution).reshape(20, 12))
    assert relative_error(found, a) == pytest.approx(projection_error(cosine(found, a)))


def test_principal_angles_of_known_planes():
    first = torch.eye(4)[:, :2]
    for degrees in (0.0, 1e-5, 30.0, 90.0):
        angle = math.radians(degrees)
        tilted = torch.zeros(4, 2, dtype=torch.float64)
        tilted[0, 0] = 1.0
        tilted[1, 1], tilted[2, 1] = math.cos(angle), math.sin(angle)
        found = principal_angles(first, tilted)
        assert found.largest == pytest.approx(degrees, rel=1e-6, abs=1e-9)
        assert found.overlap == pytest.approx((1 + math.cos(angle) ** 2) / 2)


def test_principal_angles_do_not_depend_on_the_basis():
    first, second = (torch.linalg.qr(base.double())[0] for base in (matrix(4), matrix(5)))
    turn, _ = torch.linalg.qr(matrix(6, (12, 12)).double())
    straight, turned = principal_angles(first, second), principal_angles(first, second @ turn)
    assert turned.overlap == pytest.approx(straight.overlap)
    assert turned.largest == pytest.approx(straight.largest)


def test_random_control_is_the_cosine_with_the_projection():
    """Twin: form B B^T M A^T A and take its cosine with M."""
    random = RandomBases(5, torch.Generator().manual_seed(0))
    a = matrix(3)
    found = random.cosines(a, 3)
    left, right = random._bases((20, 12, 3))
    for draw in range(5):
        B, A = left[:, 3 * draw : 3 * draw + 3], right[draw]
        torch.testing.assert_close(B.T @ B, torch.eye(3), rtol=0, atol=1e-6)
        # float32 products of size 1
        expected = cosine(a, projection(a, (B, A)))
        assert found[draw].item() == pytest.approx(expected, abs=1e-5)
    control = random.control(a, 3)
    assert control.low <= control.mean <= control.high
    assert control.mean == pytest.approx(found.mean().item())


def test_random_control_has_its_expected_size():
    # E |B^T M A^T|^2 / |M|^2 = r^2 / (m n) for every M
    cosines = RandomBases(2000, torch.Generator().manual_seed(7)).cosines(matrix(6), 4)
    # 2,000 draws: the standard error of the mean square is about 1 %
    assert cosines.square().mean().item() == pytest.approx(16 / 240, rel=0.05)


def test_draws_are_the_same_for_every_matrix_of_a_shape():
    random = RandomBases(3, torch.Generator().manual_seed(0))
    a = matrix(0)
    assert torch.equal(random.cosines(a, 2), random.cosines(2 * a, 2))
    assert not torch.equal(random.cosines(a, 2), random.cosines(a, 3))


@pytest.mark.parametrize("shape", [(30, 30), (20, 50), (50, 20)])
def test_singular_values_and_subspaces_are_those_of_an_svd(shape):
    matrix = torch.randn(*shape, generator=torch.Generator().manual_seed(3))
    U, S, Vh = torch.linalg.svd(matrix.double(), full_matrices=False)
    values, (left, right) = leading_subspaces(matrix, 4)
    for found in (values, singular_values(matrix)):
        # the Gram matrix squares: half of float64's digits, of the largest
        torch.testing.assert_close(found, S, rtol=0, atol=1e-8 * S[0].item())
    for found, expected in ((left, U[:, :4]), (right, Vh[:4].T)):
        projectors = found @ found.T, expected @ expected.T
        torch.testing.assert_close(*projectors, rtol=0, atol=1e-12)  # float64
        torch.testing.assert_close(found.T @ found, torch.eye(4).double(), rtol=0, atol=1e-12)


def test_singular_values_of_a_matrix_of_low_rank():
    matrix = torch.outer(torch.arange(1.0, 5), torch.ones(3))
    values = singular_values(matrix)
    assert values[0].item() == pytest.approx(matrix.double().norm().item())
    assert (values[1:] < 1e-7 * values[0]).all()  # rounding of the Gram matrix, its root
    assert len(values) == 3
