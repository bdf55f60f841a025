"""The paper's theorems (arXiv 2411.19557) on small random problems, float64, from a seed.

Each check computes one number that a theorem bounds. Notation as in docs/method.md; theorem numbers
are those of the paper's versions 3 and 4.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from lorasb.linalg.measures import orthonormal, projection
from lorasb.start.factors import ADAM_EPSILON

OUT, IN, RANK, SAMPLES = 12, 9, 3, 20
SCALES = (0.25, 1.0, 4.0)
STEPS, RATE = 50, 0.01
# sums of some hundred products of size 1, each rounded to 1e-16; a solver loses some digits more
EXACT = 1e-10


@dataclass(frozen=True)
class Check:
    """One number, and the range in which a claim says it is."""

    source: str
    claim: str
    test: str
    value: float
    low: float = -math.inf
    high: float = math.inf

    @property
    def holds(self) -> bool:
        """Whether the value is in the range."""
        return self.low <= self.value <= self.high


@dataclass(frozen=True)
class Problem:
    """L(W) = |(W0 + s B R A) X - Y|^2 / 2 with random matrices and full-rank B, A."""

    W0: Tensor
    B: Tensor
    A: Tensor
    X: Tensor
    Y: Tensor

    def loss(self, W: Tensor) -> Tensor:
        """The loss at a weight."""
        return (W @ self.X - self.Y).square().sum() / 2

    def gradient(self, W: Tensor) -> Tensor:
        """Its gradient, written out."""
        return (W @ self.X - self.Y) @ self.X.T

    def orthonormalised(self) -> Problem:
        """The same with orthonormal columns of B and rows of A."""
        B, right = orthonormal((self.B, self.A.T))
        return Problem(self.W0, B, right.T.contiguous(), self.X, self.Y)


def problem(random: torch.Generator) -> Problem:
    """A problem of size 12 x 9 and rank 3."""

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, dtype=torch.float64, generator=random)

    X = normal(IN, SAMPLES) / SAMPLES**0.5
    return Problem(normal(OUT, IN), normal(OUT, RANK), normal(RANK, IN), X, normal(OUT, SAMPLES))


def checks(random: torch.Generator) -> Iterator[Check]:
    """Every check, in the paper's order."""
    given = problem(random)
    for check in (
        _reachable,
        _gradient_of_r,
        _best_gradient,
        _equivalent_is_projection,
        _first_order_decrease,
        _scale_in_gradient,
        _plain_is_best,
        _scale_under_sgd,
        _scale_under_adamw,
        _eckart_young,
        _first_adamw_step,
    ):
        yield check(given, random)


def best_step(B: Tensor, A: Tensor, g_R: Tensor, scale: float) -> Tensor:
    """x* = (1/s^2) (B^T B)^-1 g_R (A A^T)^-1 (Theorem 3)."""
    left = torch.linalg.solve(B.T @ B, g_R)
    return torch.linalg.solve(A @ A.T, left.T).T / scale**2


def trained_change(
    given: Problem,
    scale: float,
    optimizer: Callable[[list[Tensor]], torch.optim.Optimizer],
    *,
    corrected: bool,
) -> Tensor:
    """Change of W after some steps on R from R = 0; `corrected` steps along x* of Theorem 3."""
    R = torch.zeros(RANK, RANK, dtype=torch.float64, requires_grad=True)
    steps = optimizer([R])
    for _ in range(STEPS):
        with torch.no_grad():
            g = given.gradient(given.W0 + scale * given.B @ R @ given.A)
            g_R = scale * given.B.T @ g @ given.A.T
            R.grad = best_step(given.B, given.A, g_R, scale) if corrected else g_R
        steps.step()
    return scale * given.B @ R.detach() @ given.A


def _difference(found: Tensor, wanted: Tensor) -> float:
    return ((found - wanted).norm() / wanted.norm()).item()


def _largest_difference(changes: dict[float, Tensor]) -> float:
    return max(_difference(change, changes[1.0]) for change in changes.values())


def _r_gradient(given: Problem, scale: float) -> Tensor:
    R = torch.zeros(RANK, RANK, dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(given.loss(given.W0 + scale * given.B @ R @ given.A), R)
    return gradient


def _reachable(given: Problem, random: torch.Generator) -> Check:
    change = trained_change(
        given, 1.0, lambda values: torch.optim.SGD(values, lr=RATE), corrected=True
    )
    inside = projection(change, orthonormal((given.B, given.A.T)))
    return Check(
        "Lemma 1",
        "Every change of W lies between the column space of B and the row space of A.",
        f"part of the change outside after {STEPS} steps of SGD, relative",
        _difference(inside, change),
        high=EXACT,
    )


def _gradient_of_r(given: Problem, random: torch.Generator) -> Check:
    expected = 4.0 * given.B.T @ given.gradient(given.W0) @ given.A.T
    return Check(
        "Lemma 2",
        "The gradient of R is s B^T g A^T.",
        "relative difference to automatic differentiation, s = 4",
        _difference(_r_gradient(given, 4.0), expected),
        high=EXACT,
    )


def _best_gradient(given: Problem, random: torch.Generator) -> Check:
    scale, g = 4.0, given.gradient(given.W0)
    # row-major vec(s B x A) = s (B kron A^T) vec(x)
    design = scale * torch.kron(given.B, given.A.T.contiguous())
    solved = torch.linalg.lstsq(design, g.flatten()[:, None]).solution.reshape(RANK, RANK)
    found = best_step(given.B, given.A, _r_gradient(given, scale), scale)
    return Check(
        "Theorem 3",
        "The step of R whose effect on W is closest to g is (1/s^2) (B^T B)^-1 g_R (A A^T)^-1.",
        "relative difference to a least-squares solver, s = 4",
        _difference(found, solved),
        high=EXACT,
    )


def _equivalent_is_projection(given: Problem, random: torch.Generator) -> Check:
    found = best_step(given.B, given.A, _r_gradient(given, 1.0), 1.0)
    expected = projection(given.gradient(given.W0), orthonormal((given.B, given.A.T)))
    return Check(
        "Theorem 3",
        "The effect of that step on W is the projection P_B g P_A.",
        "relative difference to the projection",
        _difference(given.B @ found @ given.A, expected),
        high=EXACT,
    )


def _first_order_decrease(given: Problem, random: torch.Generator) -> Check:
    slopes = []
    for _ in range(100):
        drawn = problem(random)
        g_R = _r_gradient(drawn, 1.0)
        slope = -(g_R * best_step(drawn.B, drawn.A, g_R, 1.0)).sum()
        slopes.append((slope / drawn.gradient(drawn.W0).square().sum()).item())
    return Check(
        "Theorem 4",
        "To first order, the best step never raises the loss.",
        "largest slope of the loss along the step over 100 problems, relative to |g|^2",
        max(slopes),
        high=0.0,
    )


def _scale_in_gradient(given: Problem, random: torch.Generator) -> Check:
    effects = {
        scale: scale * given.B @ best_step(given.B, given.A, g_R, scale) @ given.A
        for scale in SCALES
        for g_R in [_r_gradient(given, scale)]
    }
    return Check(
        "Theorem 5",
        "The effect of the best step on W does not depend on s.",
        "largest relative difference to s = 1, for s = 1/4 and 4",
        _largest_difference(effects),
        high=EXACT,
    )


def _plain_is_best(given: Problem, random: torch.Generator) -> Check:
    straight = given.orthonormalised()
    g_R = _r_gradient(straight, 1.0)
    return Check(
        "Theorem 5",
        "With orthonormal bases and s = 1 the plain gradient of R is already the best step.",
        "relative difference between g_R and the best step",
        _difference(g_R, best_step(straight.B, straight.A, g_R, 1.0)),
        high=EXACT,
    )


def _scale_under_sgd(given: Problem, random: torch.Generator) -> Check:
    changes = {
        scale: trained_change(
            given, scale, lambda values: torch.optim.SGD(values, lr=RATE), corrected=True
        )
        for scale in SCALES
    }
    return Check(
        "Theorem 5",
        "Training does not depend on s, so s needs no tuning (SGD with the best step).",
        f"largest relative difference of W's change to s = 1 after {STEPS} steps of SGD",
        _largest_difference(changes),
        high=EXACT,
    )


def _scale_under_adamw(given: Problem, random: torch.Generator) -> Check:
    straight = given.orthonormalised()
    changes = {
        scale: trained_change(
            straight,
            scale,
            lambda values: torch.optim.AdamW(values, lr=RATE, weight_decay=0.0),
            corrected=True,
        )
        for scale in SCALES
    }
    return Check(
        "Theorem 5",
        "Training does not depend on s, so s needs no tuning (AdamW, which the paper trains with).",
        f"largest relative difference of W's change to s = 1 after {STEPS} steps of AdamW",
        _largest_difference(changes),
        high=EXACT,
    )


def _eckart_young(given: Problem, random: torch.Generator) -> Check:
    g = given.gradient(given.W0)
    U, S, Vh = torch.linalg.svd(g, full_matrices=False)
    error = (g - U[:, :RANK] * S[:RANK] @ Vh[:RANK]).norm()
    # the best that alternating least squares finds from random starts
    others = []
    for _ in range(20):
        right = torch.randn(RANK, IN, dtype=torch.float64, generator=random)
        for _ in range(200):
            left = torch.linalg.lstsq(right.T, g.T).solution.T
            right = torch.linalg.lstsq(left, g).solution
        others.append((g - left @ right).norm())
    return Check(
        "Theorem 6",
        "The truncated SVD of the first step is its best approximation of that rank.",
        "its error over the least that alternating least squares finds from 20 starts, less 1",
        (error / torch.stack(others).min() - 1).item(),
        high=EXACT,
    )


def _first_adamw_step(given: Problem, random: torch.Generator) -> Check:
    W = given.W0.clone().requires_grad_(True)
    W.grad = given.gradient(given.W0)
    torch.optim.AdamW([W], lr=RATE, weight_decay=0.0).step()
    step = (W.detach() - given.W0) / -RATE
    return Check(
        "Initialisation",
        "AdamW's first step is -eta sign(g).",
        "largest difference of an entry over eta; allowed is AdamW's epsilon over the least |g|",
        (step - W.grad.sign()).abs().max().item(),
        # rounding of W itself, over the step
        high=ADAM_EPSILON / W.grad.abs().min().item() + EXACT / RATE,
    )
