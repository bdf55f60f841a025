"""Truncated singular value decomposition: exact, Krylov to convergence, or in one pass."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec

import torch
from torch import Tensor

from lorasb.errors import UserError
from lorasb.seeding import seeded

EXACT_BELOW = 1024
OVERSAMPLING = 16
TOLERANCE = 1e-4
# blocks after which a Krylov space has usually converged: where so many span the smaller side,
# its Gram matrix is the shorter way
BLOCKS = 8
# which the suite brings, not the tuner alone
SCIPY = find_spec("scipy") is not None and find_spec("threadpoolctl") is not None
# from that size on signs are decomposed in float32, and the top eigenvectors without the others
# where they are at most this part of all; below it all take milliseconds
LARGE = 512
PART = 1 / 3


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

    def cpu(self) -> Factors:
        """The same in the host's memory."""
        return Factors(self.U.cpu(), self.S.cpu(), self.V.cpu(), self.residual)

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

    Exact to rounding, from the Gram matrix of the smaller side, where that side is at most
    `exact_below` long or `BLOCKS` blocks of `rank + oversampling` directions. Otherwise from the
    block Krylov space of a random start (Musco and Musco, arXiv 1504.05477, algorithm 2), which
    grows until another block adds less than a share `tolerance` to the captured energy. Any
    floating dtype comes in, float32 goes out, on the matrix's device. The start is drawn on the CPU
    from `generator`; without one from a generator of seed 0, so that the result is the same each
    time.

    Raises
    ------
    UserError
        If the matrix has values that are not finite, or if the rank is not in 1..min(m, n).
    """
    _check(matrix, rank)
    matrix = matrix.detach().float()
    short = _short(matrix)
    exact = _exact(short)
    size = rank + oversampling
    if len(short) <= max(exact_below, BLOCKS * size):
        basis = _left_vectors(exact, rank)
    else:
        basis = _krylov_basis(short, rank, size, tolerance, generator)
    return _factors(matrix, *_triplets(exact, basis))


def truncated_svds(
    matrices: Sequence[Tensor], rank: int, *, generator: torch.Generator | None = None
) -> list[Factors]:
    """`truncated_svd` of matrices of one shape on one device; to rounding what each alone gives.

    Those that are decomposed by their Gram matrices are so as one stack, for an accelerator. A
    larger one keeps it busy by itself, and grows a Krylov space of its own size.
    """
    for matrix in matrices:
        _check(matrix, rank)
    largest = max(EXACT_BELOW, BLOCKS * (rank + OVERSAMPLING))
    if len(matrices) == 1 or min(matrices[0].shape) > largest:
        return [truncated_svd(matrix, rank, generator=generator) for matrix in matrices]
    stack = torch.stack([matrix.detach().float() for matrix in matrices])
    exact = _exact(_short(stack))
    found = _triplets(exact, _left_vectors(exact, rank))
    return [_factors(*one) for one in zip(stack, *found, strict=True)]


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
    return Factors(U, S, V, _residual(S, _total(matrix)))


def _short(matrix: Tensor) -> Tensor:
    """A matrix (m, n), or each of a stack, with the smaller side first; where float64 exists."""
    if matrix.device.type == "mps":  # has none
        matrix = matrix.cpu()
    rows, columns = matrix.shape[-2:]
    return matrix if rows <= columns else matrix.mT


def _factors(matrix: Tensor, left: Tensor, S: Tensor, right: Tensor) -> Factors:
    """What is kept of the triplets of a matrix, or of its transpose if that is the wide one."""
    U, V = (left, right) if len(left) == len(matrix) else (right, left)
    U, V = _fix_signs(U.float().to(matrix.device), V.float().to(matrix.device))
    return Factors(U, S.float().to(matrix.device), V, _residual(S, _total(matrix)))


def _total(matrix: Tensor) -> float:
    return torch.linalg.vector_norm(matrix, dtype=torch.float64).item() ** 2


def _residual(S: Tensor, total: float) -> float:
    return max(0.0, 1.0 - _energy(S) / total) if total else 0.0


def _check(matrix: Tensor, rank: int) -> None:
    if matrix.ndim != 2:
        raise UserError(f"SVD needs a matrix; this tensor has shape {tuple(matrix.shape)}")
    largest = min(matrix.shape)
    if not 1 <= rank <= largest:
        shape = " x ".join(map(str, matrix.shape))
        raise UserError(f"rank {rank}: a {shape} matrix allows ranks from 1 to {largest}")
    if not all_finite(matrix):
        raise UserError("SVD of a matrix with values that are not finite")


def all_finite(matrix: Tensor) -> bool:
    """Whether no value is NaN or infinite; most often a sum tells, in a tenth of the time."""
    return bool(matrix.sum().isfinite() or torch.isfinite(matrix).all())


def gram(matrix: Tensor) -> Tensor:
    """M M^T, float64, of a matrix or of each of a stack.

    Of signs by float32, in half the time and to the same bits: their products are sums of whole
    numbers, of which float32 has all up to 2^24.
    """
    wide = matrix.float() if _of_signs(matrix) else matrix.double()
    return (wide @ wide.mT).double()


def _of_signs(matrix: Tensor) -> bool:
    return matrix.shape[-1] <= 2**24 and torch.equal(matrix, matrix.sign())


def gram_svd(matrix: Tensor, rank: int) -> tuple[Tensor, Tensor]:
    """All singular values of a wide matrix (m, n), and its top left singular vectors (m, r).

    Float64, of the Gram matrix; values do not increase.
    """
    values, vectors = torch.linalg.eigh(gram(matrix))  # ascending
    return values.flip(0).clamp(min=0).sqrt(), vectors[:, -rank:].flip(1)


def _exact(matrix: Tensor) -> Tensor:
    """In the dtype that products with it are taken in: float64, but float32 for many signs.

    Their Gram matrix is exact in both. What rounding turns singular vectors by costs its square in
    what they capture, and they are made orthonormal in float64.
    """
    return matrix if matrix.shape[-2] >= LARGE and _of_signs(matrix) else matrix.double()


def _left_vectors(matrix: Tensor, rank: int) -> Tensor:
    """The top left singular vectors (m, r) of a wide matrix, float64, the largest first."""
    if matrix.shape[-2] < LARGE:
        return torch.linalg.eigh(gram(matrix))[1][..., -rank:].flip(-1)
    return torch.linalg.qr(_top_eigenvectors(matrix, rank).double())[0]


def _top_eigenvectors(matrix: Tensor, rank: int) -> Tensor:
    """Those (m, r) of the largest eigenvalues of M M^T, the largest first, in M's dtype.

    Without SciPy they are the same, to rounding, in twice the time.
    """
    size = matrix.shape[-2]
    if not (SCIPY and matrix.ndim == 2 and matrix.is_cpu and rank <= size * PART):
        return torch.linalg.eigh(matrix @ matrix.mT)[1][..., -rank:].flip(-1)
    from scipy.linalg import eigh, get_blas_funcs
    from threadpoolctl import threadpool_limits

    columns = matrix.numpy()  # as BLAS has them one after the other
    of_rows = not columns.flags.f_contiguous
    if of_rows:
        columns = columns.T
    (half_of_gram,) = get_blas_funcs(["syrk"], [columns])
    with threadpool_limits(torch.get_num_threads(), "blas"):
        vectors = eigh(
            half_of_gram(1.0, columns, trans=of_rows),
            lower=False,
            subset_by_index=[size - rank, size - 1],
            overwrite_a=True,
            check_finite=False,
        )[1]
    return torch.from_numpy(vectors).flip(1)


def _krylov_basis(
    matrix: Tensor,
    rank: int,
    size: int,
    tolerance: float,
    generator: torch.Generator | None,
) -> Tensor:
    """Orthonormal (m, r), float64, that captures what the top left singular vectors do."""
    generator = generator or torch.Generator().manual_seed(0)
    start = torch.randn(matrix.shape[1], size, generator=generator).to(matrix.device)
    block = torch.linalg.qr(matrix @ start)[0]
    basis, seen = block, matrix.T @ block
    products = seen.T @ seen
    captured = 0.0
    # ends: each further block must add a share of at least `tolerance`, and there is no more than 1
    while True:
        values = torch.linalg.eigvalsh(products.double())
        before, captured = captured, values[-rank:].sum().item()
        room = len(matrix) - basis.shape[1]
        if captured - before <= tolerance * captured or not room:
            vectors = torch.linalg.eigh(products.double())[1]
            return torch.linalg.qr(basis.double() @ vectors[:, -rank:].flip(1))[0]
        block = matrix @ seen[:, -size:][:, :room]
        for _ in range(2):  # once leaves rounding of the size of what was taken out
            block = torch.linalg.qr(block - basis @ (basis.T @ block))[0]
        basis, added = torch.cat([basis, block], dim=1), matrix.T @ block
        across = seen.T @ added
        below = torch.cat([across.T, added.T @ added], dim=1)
        products = torch.cat([torch.cat([products, across], dim=1), below])
        seen = torch.cat([seen, added], dim=1)


def _triplets(matrix: Tensor, basis: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Singular triplets of basis basis^T M, for an orthonormal basis (m, r), float64."""
    right, small = torch.linalg.qr((matrix.mT @ basis.to(matrix.dtype)).double())
    U, S, Vh = torch.linalg.svd(small.mT)
    return basis @ U, S, right @ Vh.mT


def _fix_signs(U: Tensor, V: Tensor) -> tuple[Tensor, Tensor]:
    """Singular vectors are unique up to a sign that a pair shares; choose it."""
    largest = U.gather(0, U.abs().argmax(dim=0, keepdim=True))
    signs = torch.where(largest < 0, -1.0, 1.0)
    return (U * signs).contiguous(), (V * signs).contiguous()


def _energy(S: Tensor) -> float:
    return S.double().square().sum().item()
