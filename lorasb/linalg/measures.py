"""How alike two matrices are, and how much of one a low-rank form of it keeps.

docs/directions.md has each formula with its source. Matrices are (out, in); sums are float64.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from lorasb.linalg.svd import gram, gram_svd

Bases = tuple[Tensor, Tensor]  # (out, r) and (in, r), orthonormal columns


@dataclass(frozen=True)
class Control:
    """Cosines that a random subspace reaches: mean and 95 % range over draws."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class Angles:
    """Principal angles between two subspaces: mean of cosine^2, and the largest angle, degrees."""

    overlap: float
    largest: float


def cosine(a: Tensor, b: Tensor) -> float:
    """Cosine between two matrices as vectors; NaN if one of them is zero."""
    a, b = a.double().flatten(), b.double().flatten()
    return (a @ b / (a.norm() * b.norm())).item()


def relative_error(found: Tensor, wanted: Tensor) -> float:
    """|found - wanted| / |wanted|, Frobenius; NaN or infinite if `wanted` is zero."""
    wanted = wanted.double()
    return ((found.double() - wanted).norm() / wanted.norm()).item()


def projection_error(cosine: float) -> float:
    """Relative error of an orthogonal projection whose cosine with the matrix is given."""
    return math.sqrt(max(0.0, 1.0 - cosine**2))


def best_rank_cosine(values: Tensor, rank: int) -> float:
    """Cosine between a matrix and its best approximation of a rank (Eckart-Young).

    `values` are its singular values, not increasing.
    """
    energy = values.double().square()
    return (energy[:rank].sum() / energy.sum()).sqrt().item()


def effective_rank(values: Tensor) -> float:
    """exp of the entropy of the singular values over their sum (Roy and Vetterli, 2007).

    Between 1 and the rank; NaN for a zero matrix.
    """
    shares = values.double() / values.double().sum()
    return torch.special.entr(shares).sum().exp().item()


def projection(matrix: Tensor, bases: Bases) -> Tensor:
    """P_B M P_A with the orthogonal projectors on the two column spaces."""
    left, right = bases
    return left @ (left.T @ matrix @ right) @ right.T


def orthonormal(bases: Bases) -> Bases:
    """Orthonormal bases of the two column spaces, which must have full rank."""
    left, right = bases
    return torch.linalg.qr(left)[0], torch.linalg.qr(right)[0]


def singular_values(matrix: Tensor) -> Tensor:
    """All singular values, float64, not increasing; those below 1e-8 of the largest are rounding.

    Of the Gram matrix of the smaller side: where the matrix is long, in a third of an SVD's time.
    """
    return torch.linalg.eigvalsh(gram(_wide(matrix))).flip(0).clamp(min=0).sqrt()


def leading_subspaces(matrix: Tensor, rank: int) -> tuple[Tensor, Bases]:
    """`singular_values`, and the singular vectors of the first `rank`, float64."""
    wide = _wide(matrix)
    values, short = gram_svd(wide, rank)
    long = torch.linalg.qr(wide.T.double() @ short)[0]
    return values, (short, long) if wide is matrix else (long, short)


def _wide(matrix: Tensor) -> Tensor:
    return matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T


def principal_angles(first: Tensor, second: Tensor) -> Angles:
    """Angles between the column spaces of two matrices (n, r) with orthonormal columns."""
    first, second = first.double(), second.double()
    common = first.T @ second
    # the cosine alone cannot tell small angles
    sine = singular_values(second - first @ common)[0]
    largest = math.degrees(math.atan2(sine.item(), singular_values(common)[-1].item()))
    return Angles(min(1.0, common.square().sum().item() / common.shape[1]), largest)


class RandomBases:
    """Random orthonormal bases: for each shape and rank the same draws, whatever the matrix."""

    def __init__(self, draws: int, random: torch.Generator) -> None:
        self.draws, self.random = draws, random
        self._drawn: dict[tuple[int, ...], Bases] = {}

    def control(self, matrix: Tensor, rank: int) -> Control:
        """|B^T M A^T| / |M| over the draws: the cosine of M with its projection on B and A."""
        cosines = self.cosines(matrix, rank)
        low, high = torch.quantile(cosines, torch.tensor([0.025, 0.975]).to(cosines))
        return Control(cosines.mean().item(), low.item(), high.item())

    def cosines(self, matrix: Tensor, rank: int) -> Tensor:
        """The cosine of each draw: (draws,)."""
        left, right = self._bases((*matrix.shape, rank))
        # one product with all left bases side by side: (draws, r, in)
        seen = (left.T @ matrix).reshape(self.draws, rank, -1)
        return torch.linalg.matrix_norm(seen @ right) / torch.linalg.matrix_norm(matrix)

    def _bases(self, key: tuple[int, ...]) -> Bases:
        """For (out, in, r): the left bases side by side, (out, draws * r); right (draws, in, r)."""
        if key not in self._drawn:
            out, width, rank = key
            left, right = (
                torch.linalg.qr(torch.randn(self.draws, size, rank, generator=self.random))[0]
                for size in (out, width)
            )
            self._drawn[key] = (left.permute(1, 0, 2).reshape(out, -1), right)
        return self._drawn[key]
