"""Factors of many matrices: computed once, stored, and cut to the rank that is wanted."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Literal

import torch
from safetensors.torch import save_file
from torch import Tensor
from tqdm import tqdm

from lorasb.errors import UserError, remake
from lorasb.files import atomic, load_tensors
from lorasb.linalg.svd import Factors, all_finite, one_pass_svd, truncated_svds

ADAM_EPSILON = 1e-8
PARTS = ("U", "S", "V", "residual")
# entries rounded to bfloat16, the coarsest that are stored, are wrong by a share of 2^-9 at most,
# and products of two unit columns by twice that
ORTHONORMAL = 0.01
# numbers in matrices of one shape that an accelerator decomposes at once: it would idle over a
# small one, and one of this size fills it; as float32 they take 128 MiB, the work on them some GiB
STACK = 2**25

Step = Literal["sign", "adam", "none"]
Svd = Literal["converged", "one-pass"]

_STEPS: dict[str, Callable[[Tensor], Tensor]] = {
    "sign": torch.sign,
    "adam": lambda gradient: gradient / (gradient.abs() + ADAM_EPSILON),
    "none": lambda matrix: matrix,
}


def _one_passes(
    matrices: Sequence[Tensor], rank: int, *, generator: torch.Generator | None
) -> list[Factors]:
    return [one_pass_svd(matrix, rank, generator=generator) for matrix in matrices]


_SVDS = {"converged": truncated_svds, "one-pass": _one_passes}


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
    found = dict(each_factors(items, rank, step=step, svd=svd, generator=generator))
    return {name: found[name] for name in matrices}


def check_kinds(step: str, svd: str) -> None:
    """Refuse a step or an SVD that is not known."""
    for what, name, known in (("step", step, _STEPS), ("svd", svd, _SVDS)):
        if name not in known:
            raise UserError(f"{what} '{name}': unknown; known: {', '.join(known)}")


def each_factors(
    matrices: Iterable[tuple[str, Tensor]],
    rank: int,
    *,
    step: Step,
    svd: Svd = "converged",
    generator: torch.Generator | None = None,
) -> Iterator[tuple[str, Factors]]:
    """`factorize` of matrices that come one after the other, each on its device; errors name it.

    On the CPU each is done, and let go, before the next is asked for. On an accelerator those of
    one shape wait for each other, up to `STACK` numbers a shape, and come out together.
    """
    waiting: dict[tuple[torch.Size, torch.device], dict[str, Tensor]] = {}
    decompose = partial(_decomposed, rank=rank, svd=svd, generator=generator)
    for name, matrix in matrices:
        kind = matrix.shape, matrix.device
        waiting.setdefault(kind, {})[name] = _stepped(name, matrix, step)
        if (len(waiting[kind]) + 1) * matrix.numel() > _room(matrix.device):
            yield from decompose(waiting.pop(kind))
    for stack in waiting.values():
        yield from decompose(stack)


def factors_of(
    name: str,
    matrix: Tensor,
    rank: int,
    *,
    step: Step,
    generator: torch.Generator | None = None,
) -> Factors:
    """`factorize` of one matrix, on its device; errors name it."""
    ((_, found),) = each_factors([(name, matrix)], rank, step=step, generator=generator)
    return found


def _stepped(name: str, matrix: Tensor, step: Step) -> Tensor:
    if not matrix.is_floating_point() or matrix.itemsize == 1:
        raise UserError(f"{name}: a {matrix.dtype} matrix has no SVD; is it a quantised weight?")
    if not all_finite(matrix):  # the sign of NaN is 0
        raise UserError(f"{name}: the matrix has values that are not finite")
    return _STEPS[step](matrix)


def _decomposed(
    stack: Mapping[str, Tensor], rank: int, svd: Svd, generator: torch.Generator | None
) -> list[tuple[str, Factors]]:
    try:
        found = _SVDS[svd](list(stack.values()), rank, generator=generator)
    except UserError as error:
        raise UserError(f"{next(iter(stack))}: {error}") from error
    return list(zip(stack, found, strict=True))


def _room(device: torch.device) -> int:
    # a processor of the host is as fast with one at a time, and does the work of MPS, too
    return 0 if device.type in ("cpu", "mps") else STACK


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
