"""Truncated singular value decomposition: exact, randomised to convergence, or in one pass."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from lorasb.errors import UserError
from lorasb.seeding import seeded

EXACT_BELOW = 1024
OVERSAMPLING = 64
TOLERANCE = 1e-4


@dataclass(frozen=True)
class Factors:
    """The top r singular triplets of an (m, n) matrix: matrix ~ U diag(S) V^T.

    U is (m, r), S (r,), V (n, r), all float32.
    """

    # orthonormal columns, in each of which the entry of largest magnitude is positive
    U: Tensor
    # not increasing
    S: Tensor
    # orthonormal columns
    V: Tensor
    # share of the squared Frobenius norm that the triplets leave out
    residual: float

    @property
    def rank(self) -> int:
        """Number of triplets."""
        return len(self.S)

    def truncate(self, rank: int) -> Factors:
        """The first `rank` triplets.

        Raises
        ------
        UserError
            If there are fewer.
        """
        if not 1 <= rank <= self.rank:
            raise UserError(f"rank {rank}: the stored factors allow ranks from 1 to {self.rank}")
        stored = _energy(self.S)
        share = _energy(self.S[:rank]) / stored if stored else 1.0
        residual = 1.0 - (1.0 - self.residual) * share
        return Factors(
            self.U[:, :rank].contiguous(),
            self.S[:rank].contiguous(),
            self.V[:, :rank].contiguous(),
            residual,
        )


def truncated_svd(
    matrix: Tensor,
    rank: int,
    *,
    generator: torch.Generator | None = None,
    oversampling: int = OVERSAMPLING,
    tolerance: float = TOLERANCE,
    exact_below: int = EXACT_BELOW,
) -> Factors:
    """Best rank-r approximation of an (m, n) matrix in the Frobenius norm (Eckart-Young).

    Exact where min(m, n) <= `exact_below`. Larger matrices: randomised subspace iteration
    (Halko, Martinsson, Tropp, arXiv 0909.4061, algorithm 4.4) on `rank + oversampling` directions
    until the captured energy grows by less than `tolerance`, relatively. Any floating dtype comes
    in, float32 goes out, on the matrix's device. The start is drawn on the CPU from `generator`;
    without one from a generator of seed 0, so that the result is the same each time.

    Raises
    ------
    UserError
        If the matrix has values that are not finite, or if the rank is not in 1..min(m, n).
    """
    _check(matrix, rank)
    matrix = matrix.detach().float()
    size = rank + oversampling
    if min(matrix.shape) <= max(exact_below, size):
        U, S, Vh = torch.linalg.svd(matrix, full_matrices=False)
        total = _energy(S)
    else:
        U, S, Vh = _randomized_svd(matrix, rank, size, tolerance, generator)
        total = torch.linalg.vector_norm(matrix, dtype=torch.float64).item() ** 2
    S = S[:rank].contiguous()
    U, V = _fix_signs(U[:, :rank], Vh[:rank].T)
    return Factors(U, S, V, _residual(S, total))


def one_pass_svd(matrix: Tensor, rank: int, *, generator: torch.Generator | None = None) -> Factors:
    """Randomised SVD on exactly `rank` directions, rounded to bfloat16 and held in float32.

    What the authors' code of arXiv 2411.19557 computes: two power iterations of
    `torch.svd_lowrank` without oversampling. On a flat spectrum it captures less than
    `truncated_svd`; columns are orthonormal to the precision of bfloat16. It draws on the matrix's
    device, seeded from `generator`; without one from a generator of seed 0.

    Raises
    ------
    UserError
        As `truncated_svd`.
    """
    _check(matrix, rank)
    matrix = matrix.detach().float()
    with seeded(generator or torch.Generator().manual_seed(0)):  # svd_lowrank takes no generator
        found = torch.svd_lowrank(matrix, q=rank, niter=2)
    U, S, V = (part.bfloat16().float() for part in found)
    U, V = _fix_signs(U, V)
    total = torch.linalg.vector_norm(matrix, dtype=torch.float64).item() ** 2
    return Factors(U, S, V, _residual(S, total))


def _residual(S: Tensor, total: float) -> float:
    return max(0.0, 1.0 - _energy(S) / total) if total else 0.0


def _check(matrix: Tensor, rank: int) -> None:
    if matrix.ndim != 2:
        raise UserError(f"SVD needs a matrix; this tensor has shape {tuple(matrix.shape)}")
    largest = min(matrix.shape)
    if not 1 <= rank <= largest:
        shape = " x ".join(map(str, matrix.shape))
        raise UserError(f"rank {rank}: a {shape} matrix allows ranks from 1 to {largest}")
    if not torch.isfinite(matrix).all():
        raise UserError("SVD of a matrix with values that are not finite")


def _randomized_svd(
    matrix: Tensor,
    rank: int,
    size: int,
    tolerance: float,
    generator: torch.Generator | None,
) -> tuple[Tensor, Tensor, Tensor]:
    generator = generator or torch.Generator().manual_seed(0)
    start = torch.randn(matrix.shape[1], size, generator=generator).to(matrix.device)
    Q, _ = torch.linalg.qr(matrix @ start)
    captured = 0.0
    # ends: each further round must add a share of at least `tolerance`, and there is no more than 1
    while True:
        projected = Q.T @ matrix
        U, S, Vh = torch.linalg.svd(projected, full_matrices=False)
        before, captured = captured, _energy(S[:rank])
        if captured - before <= tolerance * captured:
            return Q @ U, S, Vh
        Q, _ = torch.linalg.qr(matrix @ Vh.T)


def _fix_signs(U: Tensor, V: Tensor) -> tuple[Tensor, Tensor]:
    """Singular vectors are unique up to a sign that a pair shares; choose it."""
    largest = U.gather(0, U.abs().argmax(dim=0, keepdim=True))
    signs = torch.where(largest < 0, -1.0, 1.0)
    return (U * signs).contiguous(), (V * signs).contiguous()


def _energy(S: Tensor) -> float:
    return S.double().square().sum().item()
