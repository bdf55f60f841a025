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

from lorasb.errors import UserError
from lorasb.files import atomic, load_tensors
from lorasb.linalg.svd import Factors, one_pass_svd, truncated_svd

ADAM_EPSILON = 1e-8

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
        If a matrix has values that are not finite or is too small for the rank; names it.
    """
    if step not in _STEPS:
        raise UserError(f"step '{step}': unknown; known: {', '.join(_STEPS)}")
    if svd not in _SVDS:
        raise UserError(f"svd '{svd}': unknown; known: {', '.join(_SVDS)}")
    factors = {}
    for name, matrix in tqdm(matrices.items(), desc="SVD", file=sys.stderr, disable=None):
        if not torch.isfinite(matrix).all():  # the sign of NaN is 0
            raise UserError(f"{name}: the matrix has values that are not finite")
        try:
            factors[name] = _SVDS[svd](_STEPS[step](matrix), rank, generator=generator)
        except UserError as error:
            raise UserError(f"{name}: {error}") from error
    return factors


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
        If the file is missing, damaged or no factors file, or if the rank exceeds what it holds.
    """
    tensors = load_tensors(path)
    try:
        stored = {
            name: Factors(
                tensors[f"{name}/U"], tensors[f"{name}/S"], tensors[f"{name}/V"], residual.item()
            )
            for key, residual in tensors.items()
            for name, _, part in [key.rpartition("/")]
            if part == "residual"
        }
        return {name: factor.truncate(rank) for name, factor in stored.items()}
    except (KeyError, UserError) as error:
        raise UserError(f"{path}: {error}") from error
