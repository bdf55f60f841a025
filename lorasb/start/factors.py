"""Factors of many matrices: computed once, stored, and cut to the rank that is wanted."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal

import torch
from safetensors.torch import save_file
from torch import Tensor
from tqdm import tqdm

from lorasb.errors import UserError, remake
from lorasb.files import atomic, load_tensors
from lorasb.linalg.svd import Factors, one_pass_svd, truncated_svd

ADAM_EPSILON = 1e-8
PARTS = ("U", "S", "V", "residual")
# entries rounded to bfloat16, the coarsest that are stored, are wrong by a share of 2^-9 at most,
# and products of two unit columns by twice that
ORTHONORMAL = 0.01

Step = Literal["sign", "adam", "none"]
Svd = Literal["converged", "one-pass"]

_STEPS: dict[str, Callable[[Tensor], Tensor]] = {
    "sign": torch.sign,
    "adam": lambda gradient: gradient / (gradient.abs() + ADAM_EPSILON),
    "none": lambda matrix: matrix,
}
_SVDS = {"converged": truncated_svd, "one-pass": one_pass_svd}


def factorize(
    matrices: Mapping[str, Tensor],
    rank: int,
    *,
    step: Step,
    svd: Svd = "converged",
    generator: torch.Generator | None = None,
) -> dict[str, Factors]:
    """Truncated SVD of each (out, in) matrix, or of the first AdamW step that a gradient gives.

    `step`: "sign" decomposes sign(g), the paper's form of the step (arXiv 2411.19557, section 3);
    "adam" the exact first step g / (|g| + 1e-8); "none" the matrix itself. The step's factor -eta
    is left out: it scales S alone. `svd`: "converged" as `truncated_svd`, "one-pass" as
    `one_pass_svd`, both of `lorasb.linalg.svd`.

    Raises
    ------
    UserError
        If a matrix is quantised, has values that are not finite or is too small for the rank;
        names it.
    """
    check_kinds(step, svd)
    items = tqdm(matrices.items(), desc="SVD", file=sys.stderr, disable=None)
    return {
        name: factors_of(name, matrix, rank, step=step, svd=svd, generator=generator)
        for name, matrix in items
    }


def check_kinds(step: str, svd: str) -> None:
    """Refuse a step or an SVD that is not known."""
    for what, name, known in (("step", step, _STEPS), ("svd", svd, _SVDS)):
        if name not in known:
            raise UserError(f"{what} '{name}': unknown; known: {', '.join(known)}")


def factors_of(
    name: str,
    matrix: Tensor,
    rank: int,
    *,
    step: Step,
    svd: Svd = "converged",
    generator: torch.Generator | None = None,
) -> Factors:
    """`factorize` of one matrix, on its device; errors name it."""
    if not matrix.is_floating_point() or matrix.itemsize == 1:
        raise UserError(f"{name}: a {matrix.dtype} matrix has no SVD; is it a quantised weight?")
    if not torch.isfinite(matrix).all():  # the sign of NaN is 0
        raise UserError(f"{name}: the matrix has values that are not finite")
    try:
        return _SVDS[svd](_STEPS[step](matrix), rank, generator=generator)
    except UserError as error:
        raise UserError(f"{name}: {error}") from error


def save_factors(factors: Mapping[str, Factors], path: Path | str) -> None:
    """Write factors as safetensors: `{name}/U`, `/S`, `/V`, float32, and `/residual`, float64."""
    tensors = {}
    for name, factor in factors.items():
        tensors[f"{name}/U"] = factor.U
        tensors[f"{name}/S"] = factor.S
        tensors[f"{name}/V"] = factor.V
        tensors[f"{name}/residual"] = torch.tensor(factor.residual, dtype=torch.float64)
    with atomic(path) as partial:
        save_file(tensors, partial)


def load_factors(path: Path | str, rank: int) -> dict[str, Factors]:
    """Read factors and cut them to a rank.

    Raises
    ------
    UserError
        If the file is missing, damaged, or holds anything but factors, or if the rank exceeds what
        it holds.
    """
    tensors = load_tensors(path)
    names = dict.fromkeys(key.rpartition("/")[0] for key in tensors)
    if not names or {f"{name}/{part}" for name in names for part in PARTS} != tensors.keys():
        raise UserError(f"{path}: not {', '.join(PARTS)} of some matrices; {remake(path)}")
    factors = {}
    for name in names:
        U, S, V, residual = (tensors[f"{name}/{part}"] for part in PARTS)
        fault = _fault(U, S, V)
        if fault:
            raise UserError(f"{path}: {name}: {fault}; {remake(path)}")
        try:
            factors[name] = Factors(U, S, V, residual.item()).truncate(rank)
        except UserError as error:
            raise UserError(f"{path}: {error}") from error
    return factors


def _fault(U: Tensor, S: Tensor, V: Tensor) -> str | None:
    """What the parts of a truncated SVD are not; None if they are one."""
    if S.ndim != 1 or any(M.ndim != 2 or M.shape[1] != len(S) for M in (U, V)):
        return "U, S, V do not have the shapes (m, r), (r,), (n, r)"
    if not all(part.isfinite().all() for part in (U, S, V)):
        return "values that are not finite"
    if not len(S) or S[-1] < 0 or S[0] == 0 or (S.diff() > 0).any():
        return "S is not descending from a positive number"
    for letter, M in (("U", U), ("V", V)):
        if (M.T @ M - torch.eye(len(S))).abs().max() > ORTHONORMAL:
            return f"the columns of {letter} are not orthonormal"
    return None
