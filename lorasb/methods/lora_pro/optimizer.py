"""LoRA-Pro (arXiv 2407.18242): steps of (A, B) that move s B A as full fine-tuning would move W.

Notation: W = W0 + s B A, B (m, r), A (r, n), g = dL/dW, raw gradients g_A = s B^T g, g_B = s g A^T.
A step along -(h_A, h_B) moves W, to first order, along minus s B h_A + s h_B A, the *equivalent
gradient*. The pair that brings it closest to g in the Frobenius norm is

    h_A = (1/s^2) (B^T B)^-1 g_A + X A
    h_B = (1/s^2) (I - P_B) g_B (A A^T)^-1 - B X,        P_B = B (B^T B)^-1 B^T

for any X (r, r); whatever X is, the equivalent gradient is g - (I - P_B) g (I - P_A). The paper
takes the X that keeps the pair closest to (g_A, g_B), the solution of the Sylvester equation

    (B^T B) X + X (A A^T) = -(1/s^2) (B^T B)^-1 g_A A^T

Where B is zero, as at the start of LoRA, (B^T B)^-1 is the pseudo-inverse, zero: A stays and h_B is
(1/s^2) g_B (A A^T)^-1.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn

from lorasb.errors import UserError
from lorasb.methods.adamw import adamw_step, moments

Form = Literal["full", "efficient"]
DAMPING = 1e-8  # added to the eigenvalues of B^T B and A A^T, as the authors' code does


class Pair(NamedTuple):
    """The factors of one weight's update s B A."""

    A: Tensor  # (r, n)
    B: Tensor  # (m, r)
    scaling: float


def adjusted_gradients(
    pair: Pair, g_A: Tensor, g_B: Tensor, *, damping: float = DAMPING
) -> tuple[Tensor, Tensor]:
    """(h_A, h_B) of the module's docstring for raw gradients (g_A, g_B), with the Sylvester X.

    Computed in float64, returned in the dtype of A. Directions in which B^T B or A A^T is zero up
    to rounding are left out of its inverse; `damping` is added to the eigenvalues of the others.
    """
    dtype, scaling = pair.A.dtype, pair.scaling
    A, B, g_A, g_B = (matrix.double() for matrix in (pair.A, pair.B, g_A, g_B))
    left, left_vectors = _spectrum(B.T @ B, damping)
    right, right_vectors = _spectrum(A @ A.T, damping)
    inner = _inverse(left, left_vectors) @ g_A / scaling**2
    # in the bases of both spectra the Sylvester equation is one division an entry
    known = left_vectors.T @ -(inner @ A.T) @ right_vectors
    sums = left[:, None] + right[None, :]
    X = left_vectors @ torch.where(sums > 0, known / sums, 0.0) @ right_vectors.T
    outer = g_B @ _inverse(right, right_vectors) / scaling**2
    outside = outer - B @ (_inverse(left, left_vectors) @ (B.T @ outer))
    return (inner + X @ A).to(dtype), (outside - B @ X).to(dtype)


def equivalent_gradient(pair: Pair, h_A: Tensor, h_B: Tensor) -> Tensor:
    """s B h_A + s h_B A, (m, n)."""
    return pair.scaling * (pair.B @ h_A + h_B @ pair.A)


class LoraProAdamW(torch.optim.Optimizer):
    """Trains pairs (A, B) with LoRA-Pro and everything else with AdamW.

    `form="full"` is the paper's algorithm: Adam's moments are those of the equivalent gradient,
    m x n numbers each, and U = m^ / (sqrt(v^) + eps) takes the place of g above.
    `form="efficient"` gives (h_A, h_B) to AdamW, with moments of the factors' sizes.

    Weight decay: `full` multiplies A and B by sqrt(1 - lr * weight_decay) each, hence s B A by
    1 - lr * weight_decay. The paper shrinks W0 too; here it stays, since an adapter must fit its
    base model. `efficient` decays A and B as AdamW does. A norm is clipped before `step`: that of
    the raw g_A, g_B.

    Parameters
    ----------
    pairs
        The factors, each with its own scaling s.
    others
        What AdamW trains, such as a task head.

    Raises
    ------
    UserError
        If a factor is not a trainable float32 or float64 matrix, if shapes do not belong together,
        or if a scaling is 0.
    """

    def __init__(
        self,
        pairs: Iterable[Pair],
        others: Iterable[nn.Parameter] = (),
        *,
        lr: float,
        form: Form = "full",
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        damping: float = DAMPING,
    ) -> None:
        if form not in ("full", "efficient"):
            raise UserError(f"LoRA-Pro: form '{form}' is unknown; known: full, efficient")
        pairs = list(pairs)
        for pair in pairs:
            _check(pair)
        others = list(others)
        groups: list[dict[str, Any]] = []
        if pairs:
            # A and B in turn; the scalings say which group has pairs, also after loading
            factors = [factor for pair in pairs for factor in (pair.A, pair.B)]
            groups.append({"params": factors, "scalings": [pair.scaling for pair in pairs]})
        if others:
            groups.append({"params": others, "scalings": None})
        defaults = {
            **{"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay},
            **{"form": form, "damping": damping},
        }
        super().__init__(groups, defaults)

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """One step; a pair or parameter without a gradient is left alone."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            if group["scalings"] is None:
                trained = [p for p in group["params"] if p.grad is not None]
                adamw_step(self.state, group, trained, [p.grad for p in trained])
                continue
            factors = iter(group["params"])
            for A, B, scaling in zip(factors, factors, group["scalings"], strict=True):
                if A.grad is not None and B.grad is not None:
                    self._step_pair(group, Pair(A, B, scaling), (A.grad, B.grad))
        return loss

    def _step_pair(
        self, group: dict[str, Any], pair: Pair, gradients: tuple[Tensor, Tensor]
    ) -> None:
        A, B, scaling = pair
        h_A, h_B = adjusted_gradients(pair, *gradients, damping=group["damping"])
        if group["form"] == "efficient":
            adamw_step(self.state, group, [A, B], [h_A, h_B])
            return
        U = self._direction(group, B, equivalent_gradient(pair, h_A, h_B))
        h_A, h_B = adjusted_gradients(
            pair, scaling * B.T @ U, scaling * U @ A.T, damping=group["damping"]
        )
        kept = math.sqrt(1 - group["lr"] * group["weight_decay"])
        A.mul_(kept).sub_(h_A, alpha=group["lr"])
        B.mul_(kept).sub_(h_B, alpha=group["lr"])

    def _direction(self, group: dict[str, Any], owner: Tensor, gradient: Tensor) -> Tensor:
        """Adam's m^ / (sqrt(v^) + eps) of a gradient; the state stands under `owner`."""
        state = moments(self.state, owner, gradient)
        beta1, beta2 = group["betas"]
        state["step"] += 1
        step = state["step"].item()
        state["exp_avg"].lerp_(gradient, 1 - beta1)
        state["exp_avg_sq"].mul_(beta2).addcmul_(gradient, gradient, value=1 - beta2)
        denominator = (state["exp_avg_sq"] / (1 - beta2**step)).sqrt_().add_(group["eps"])
        return state["exp_avg"] / (1 - beta1**step) / denominator


def _spectrum(gram: Tensor, damping: float) -> tuple[Tensor, Tensor]:
    """Damped eigenvalues, 0 where there is nothing but rounding, and eigenvectors."""
    values, vectors = torch.linalg.eigh(gram)
    rounding = len(values) * torch.finfo(values.dtype).eps * values[-1]
    return torch.where(values > rounding, values + damping, 0.0), vectors


def _inverse(values: Tensor, vectors: Tensor) -> Tensor:
    """Pseudo-inverse from a spectrum."""
    return vectors @ torch.diag(torch.where(values > 0, 1 / values, 0.0)) @ vectors.T


def _check(pair: Pair) -> None:
    A, B, scaling = pair
    shapes = f"A {tuple(A.shape)}, B {tuple(B.shape)}"
    if not (A.ndim == B.ndim == 2 and A.shape[0] == B.shape[1]):
        raise UserError(f"LoRA-Pro: {shapes}: these should be (r, n) and (m, r)")
    if not {A.dtype, B.dtype} <= {torch.float32, torch.float64}:
        raise UserError(f"LoRA-Pro: {shapes} of {A.dtype}: adapters should be float32")
    if not (A.requires_grad and B.requires_grad):
        raise UserError(f"LoRA-Pro: {shapes}: both should be trained")
    if scaling == 0:
        raise UserError(f"LoRA-Pro: {shapes}: scaling is 0, with which the pair does nothing")
