"""Truncated SVD against float64 and against its defining properties."""

from __future__ import annotations

import pytest
import torch

from lorasb.errors import UserError
from lorasb.linalg import svd
from lorasb.linalg.svd import Factors, all_finite, gram, one_pass_svd, truncated_svd, truncated_svds

# columns are float64 until they are rounded: entries by 2^-24 of themselves, a product of two unit
# columns by twice that, and never more than this
ORTHONORMAL = 2e-6


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def product(factors: Factors) -> torch.Tensor:
    return factors.U @ torch.diag(factors.S) @ factors.V.T


def signs(rows: int, columns: int) -> torch.Tensor:
    """A step: the signs of a matrix whose singular values fall, as gradients' do."""
    return torch.sign(decaying(rows, columns))


def flat(rows: int, columns: int) -> torch.Tensor:
    """The slowest case: no direction stands out."""
    return torch.sign(normal(rows, columns))


def deficient(rows: int, columns: int) -> torch.Tensor:
    """Rank 3."""
    return normal(rows, 3, seed=1) @ normal(3, columns, seed=2)


def orthonormality(factors: Factors) -> float:
    """The largest entry of U^T U - 1 and of V^T V - 1."""
    eye = torch.eye(factors.rank, dtype=torch.float64)
    products = (vectors.double().T @ vectors.double() for vectors in (factors.U, factors.V))
    return max((product - eye).abs().max().item() for product in products)


def decaying(rows: int, columns: int) -> torch.Tensor:
    """Singular values 1, 1/2, 1/3, ..."""
    size = min(rows, columns)
    U, _ = torch.linalg.qr(normal(rows, size, seed=1))
    V, _ = torch.linalg.qr(normal(columns, size, seed=2))
    return U @ torch.diag(1 / torch.arange(1.0, size + 1)) @ V.T


@pytest.mark.parametrize("shape", [(20, 30), (30, 20), (7, 7), (1, 5)])
def test_exact_svd_is_the_best_approximation(shape):
    matrix = normal(*shape)
    rank = min(4, *shape)
    factors = truncated_svd(matrix, rank)
    U, S, Vh = torch.linalg.svd(matrix.double(), full_matrices=False)
    best = U[:, :rank] @ torch.diag(S[:rank]) @ Vh[:rank]
    # float32 SVD of entries of size 1
    torch.testing.assert_close(product(factors).double(), best, rtol=0, atol=1e-5)
    tail = (S[rank:].square().sum() / S.square().sum()).item()
    assert factors.residual == pytest.approx(tail, abs=1e-6)


@pytest.mark.parametrize("exact_below", [1024, 0])
def test_factors_are_orthonormal_ordered_and_signed(exact_below):
    factors = truncated_svd(normal(120, 90), 8, oversampling=2, exact_below=exact_below)
    assert orthonormality(factors) < ORTHONORMAL
    assert (factors.S.diff() <= 0).all()
    assert (factors.S > 0).all()
    largest = factors.U.gather(0, factors.U.abs().argmax(0, keepdim=True))
    assert (largest > 0).all()
    assert {t.dtype for t in (factors.U, factors.S, factors.V)} == {torch.float32}


def test_negated_matrix_has_the_same_left_vectors():
    matrix = normal(12, 9)
    plus, minus = truncated_svd(matrix, 3), truncated_svd(-matrix, 3)
    assert torch.equal(plus.U, minus.U)
    assert torch.equal(plus.V, -minus.V)


@pytest.mark.parametrize("make", [decaying, signs, flat, deficient])
@pytest.mark.parametrize("shape", [(300, 200), (200, 300), (50, 70)])
@pytest.mark.parametrize("exact_below", [1024, 0])
def test_captures_what_the_best_approximation_does(make, shape, exact_below):
    """From the Gram matrix, and from a Krylov space."""
    matrix, rank = make(*shape), 12
    factors = truncated_svd(matrix, rank, exact_below=exact_below, oversampling=8)
    energy = torch.linalg.svdvals(matrix.double()).square()
    captured = (1 - factors.residual) * energy.sum() / energy[:rank].sum()
    assert 1 - 1e-4 < captured <= 1 + 1e-6  # the promise; float32
    error = (matrix - product(factors)).square().sum() / matrix.square().sum()
    assert factors.residual == pytest.approx(error.item(), abs=1e-5)  # float32
    assert orthonormality(factors) < ORTHONORMAL
    assert (factors.S.diff() <= 0).all()


@pytest.mark.parametrize("make", [decaying, signs, flat, deficient])
@pytest.mark.parametrize("shape", [(90, 60), (60, 90)])
def test_a_stack_captures_what_each_matrix_alone_does(make, shape):
    matrices = [make(*shape), 3 * make(*shape), normal(*shape)]
    found = truncated_svds(matrices, 6)
    for matrix, factors in zip(matrices, found, strict=True):
        energy = torch.linalg.svdvals(matrix.double()).square()
        captured = (1 - factors.residual) * energy.sum() / energy[:6].sum()
        assert 1 - 1e-4 < captured <= 1 + 1e-6  # the promise; float32
        assert orthonormality(factors) < ORTHONORMAL
        assert (factors.U.gather(0, factors.U.abs().argmax(0, keepdim=True)) > 0).all()
        # float64 until it is rounded to float32
        tolerance = 1e-6 * matrix.norm().item()
        alone = product(truncated_svd(matrix, 6))
        torch.testing.assert_close(product(factors), alone, rtol=0, atol=tolerance)
    again = truncated_svds(matrices, 6)
    assert all(torch.equal(one.V, other.V) for one, other in zip(found, again, strict=True))


def test_a_stack_of_one_has_the_bits_of_the_matrix_alone():
    alone = truncated_svd(normal(20, 30), 4)
    (found,) = truncated_svds([normal(20, 30)], 4)
    assert all(torch.equal(getattr(found, part), getattr(alone, part)) for part in "USV")
    assert found.residual == alone.residual


def test_each_of_a_stack_owns_its_memory():
    """Which a file of them asks for."""
    found = truncated_svds([normal(7, 9), normal(7, 9, seed=1)], 2)
    parts = [part for one in found for part in (one.U, one.S, one.V)]
    assert len({part.untyped_storage().data_ptr() for part in parts}) == 6


def test_large_matrices_of_a_stack_are_done_one_by_one():
    matrices = [deficient(1030, 1040), flat(1030, 1040)]  # one needs two blocks, the other more
    for matrix, factors in zip(matrices, truncated_svds(matrices, 2), strict=True):
        alone = truncated_svd(matrix, 2)
        assert all(torch.equal(getattr(factors, part), getattr(alone, part)) for part in "USV")


def test_a_matrix_of_a_stack_that_is_not_finite_is_refused():
    with pytest.raises(UserError, match="not finite"):
        truncated_svds([normal(5, 8), torch.full((5, 8), torch.inf)], 2)


def test_smaller_tolerance_captures_more():
    matrix = torch.sign(normal(300, 200))
    residuals = [
        truncated_svd(matrix, 16, exact_below=0, oversampling=8, tolerance=tolerance).residual
        for tolerance in (1e-1, 1e-3, 1e-5)
    ]
    assert residuals == sorted(residuals, reverse=True)
    assert residuals[0] - residuals[2] > 1e-3


def test_randomized_svd_depends_on_the_generator_alone():
    def left(seed: int | None) -> torch.Tensor:
        generator = None if seed is None else torch.Generator().manual_seed(seed)
        matrix = torch.sign(normal(150, 140))
        return truncated_svd(matrix, 4, exact_below=0, oversampling=4, generator=generator).U

    state = torch.random.get_rng_state()
    assert torch.equal(left(1), left(1))
    assert torch.equal(left(None), left(None))
    assert not torch.equal(left(1), left(2))
    assert torch.equal(state, torch.random.get_rng_state())


def test_one_pass_captures_less_of_a_flat_spectrum():
    matrix = torch.sign(normal(300, 200))
    exact, one_pass = truncated_svd(matrix, 16), one_pass_svd(matrix, 16)
    captured = (1 - one_pass.residual) / (1 - exact.residual)
    assert 0.5 < captured < 0.97
    error = (matrix - product(one_pass)).square().sum() / matrix.square().sum()
    # the rounding of S, 2^-9 relative, of the share that is captured
    assert one_pass.residual == pytest.approx(error.item(), abs=2**-8)


def test_one_pass_is_orthonormal_only_to_bfloat16():
    factors = one_pass_svd(normal(120, 90), 8)
    for vectors in (factors.U, factors.V):
        off = (vectors.T @ vectors - torch.eye(8)).abs().max().item()
        # entries of size 0.1 are off by up to 2^-9 of themselves, float32 sums by far less
        assert 1e-4 < off < 2**-8
        assert vectors.dtype == torch.float32
        assert torch.equal(vectors, vectors.bfloat16().float())
    assert torch.equal(factors.S, factors.S.bfloat16().float())
    largest = factors.U.gather(0, factors.U.abs().argmax(0, keepdim=True))
    assert (largest > 0).all()


def test_one_pass_finds_a_matrix_of_its_rank():
    matrix = normal(30, 3, seed=1) @ normal(3, 40, seed=2)
    factors = one_pass_svd(matrix, 3)
    # three factors, each rounded by up to 2^-9 of its entries
    assert (product(factors) - matrix).norm() < 2**-7 * matrix.norm()
    assert factors.U.shape == (30, 3)
    assert factors.V.shape == (40, 3)
    with pytest.raises(UserError, match="rank 31: a 30 x 40 matrix"):
        one_pass_svd(matrix, 31)


def test_one_pass_depends_on_the_generator_alone():
    def left(seed: int | None) -> torch.Tensor:
        generator = None if seed is None else torch.Generator().manual_seed(seed)
        return one_pass_svd(torch.sign(normal(150, 140)), 4, generator=generator).U

    state = torch.random.get_rng_state()
    assert torch.equal(left(1), left(1))
    assert torch.equal(left(None), left(None))
    assert not torch.equal(left(1), left(2))
    assert torch.equal(state, torch.random.get_rng_state())


def test_low_precision_comes_in_and_float32_goes_out():
    matrix = normal(10, 8).bfloat16()
    factors = truncated_svd(matrix, 8)
    assert factors.U.dtype == torch.float32
    # full rank: the product is the matrix, up to float32
    torch.testing.assert_close(product(factors), matrix.float(), rtol=0, atol=1e-5)


def test_truncating_equals_computing_the_smaller_rank():
    matrix = normal(20, 30)
    cut, direct = truncated_svd(matrix, 9).truncate(4), truncated_svd(matrix, 4)
    assert torch.equal(cut.U, direct.U)
    assert torch.equal(cut.S, direct.S)
    assert torch.equal(cut.V, direct.V)
    assert cut.residual == pytest.approx(direct.residual, abs=1e-6)  # sums in another order


def test_zero_matrix_leaves_nothing_out():
    factors = truncated_svd(torch.zeros(4, 3), 2)
    assert factors.residual == 0.0
    assert factors.truncate(1).residual == 0.0
    assert factors.S.tolist() == [0.0, 0.0]


@pytest.mark.parametrize("rank", [0, -1, 6])
def test_rank_outside_the_matrix_is_refused(rank):
    with pytest.raises(UserError, match=rf"rank {rank}: a 5 x 8 matrix allows ranks from 1 to 5"):
        truncated_svd(normal(5, 8), rank)
    with pytest.raises(UserError, match="from 1 to 5"):
        truncated_svd(normal(5, 8), 5).truncate(rank)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_values_that_are_not_finite_are_refused(value):
    matrix = normal(5, 8)
    matrix[2, 3] = value
    with pytest.raises(UserError, match="not finite"):
        truncated_svd(matrix, 2)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_a_sum_that_is_too_large_is_of_finite_values(dtype):
    large = torch.full((4, 4), torch.finfo(dtype).max, dtype=dtype)
    assert all_finite(large)
    assert all_finite(-large)
    assert all_finite(torch.empty(0, 4))
    large[1, 2], large[2, 1] = torch.inf, -torch.inf
    assert not all_finite(large)
    large[1, 2], large[2, 1] = torch.nan, 0.0
    assert not all_finite(large)


def test_only_matrices_are_decomposed():
    with pytest.raises(UserError, match=r"\(5,\)"):
        truncated_svd(normal(5), 1)


@pytest.mark.parametrize("make", [decaying, signs, flat, deficient])
@pytest.mark.parametrize("shape", [(120, 200), (200, 120)])
@pytest.mark.parametrize("scipy", [True, False])
def test_large_matrices_are_decomposed_as_small_ones(make, shape, scipy, monkeypatch):
    """Signs in float32; the top eigenvectors without the others, where SciPy is there."""
    matrix = make(*shape)
    small = truncated_svd(matrix, 12)
    monkeypatch.setattr(svd, "LARGE", 0)
    monkeypatch.setattr(svd, "SCIPY", scipy)
    large = truncated_svd(matrix, 12)
    assert orthonormality(large) < ORTHONORMAL
    # energies: float32 in vectors of signs, whose error counts squared, and in their products
    torch.testing.assert_close(large.S, small.S, rtol=1e-6, atol=1e-6 * small.S[0].item())
    assert large.residual == pytest.approx(small.residual, abs=1e-6)
    again = truncated_svd(matrix, 12)
    assert torch.equal(large.U, again.U)
    assert torch.equal(large.V, again.V)


@pytest.mark.parametrize("rank", [12, 100])  # a part of the vectors, and most
def test_vectors_of_large_signs_are_those_of_float64(rank, monkeypatch):
    matrix = signs(120, 200)
    small = truncated_svd(matrix, rank)
    monkeypatch.setattr(svd, "LARGE", 0)
    for found in (truncated_svd(matrix, rank), *truncated_svds([matrix, -matrix], rank)):
        # float32's rounding over the least gap of these squares, a share of 1e-3 of the largest
        tolerance = 1e-3 * matrix.norm().item() / len(matrix)
        torch.testing.assert_close(
            product(found).abs(), product(small).abs(), rtol=0, atol=tolerance
        )


@pytest.mark.parametrize("make", [signs, decaying])
def test_the_gram_matrix_has_the_bits_of_float64(make):
    matrix = make(60, 500)
    wide = matrix.double()
    assert torch.equal(gram(matrix), wide @ wide.T)
