"""Flora (arXiv 2402.03293): momentum that is kept in a random projection of the shorter side.

Of a weight (m, n) with m >= n, P (n, r) has entries N(0, 1/r), so that E P P^T = I. With the raw
gradient g, M <- beta M + (1 - beta) g P; the momentum in full is M P^T. After every `kappa` steps
P is drawn anew, P', and M <- M P^T P'. A weight with m < n is treated as its transpose. P is drawn
from a seed each time it is used, and kept nowhere.

Adafactor (arXiv 1804.04235) then takes M P^T for its gradient: factored second moments with a decay
of 1 - t^-0.8, and steps whose root mean square is at most 1, times the learning rate.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from lorasb.methods.adamw import adamw_step
from lorasb.seeding import generator

SMALL = 1e-30  # added to squares of gradients, as in Adafactor


class Flora(torch.optim.Optimizer):
    """Trains `matrices` as above, all `others` with AdamW.

    The state of a matrix is r max(m, n) + m + n numbers and a step.
    """

    def __init__(
        self,
        matrices: Iterable[nn.Parameter],
        others: Iterable[nn.Parameter] = (),
        *,
        lr: float,
        rank: int,
        kappa: int,
        seed: int,
        beta: float = 0.9,
        weight_decay: float = 0.0,
    ) -> None:
        matrices = list(matrices)
        groups: list[dict[str, Any]] = [
            {"params": matrices, "rank": rank},
            {"params": list(others), "rank": None},
        ]
        defaults = {"lr": lr, "weight_decay": weight_decay, "betas": (beta, 0.999), "eps": 1e-8}
        super().__init__([group for group in groups if group["params"]], defaults)
        self.kappa, self.seed = kappa, seed
        self.number: dict[Tensor, int] = {matrix: i for i, matrix in enumerate(matrices)}

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """One step; a parameter without a gradient is left alone."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            trained = [p for p in group["params"] if p.grad is not None]
            if group["rank"] is None:
                adamw_step(self.state, group, trained, [p.grad for p in trained])
                continue
            for matrix in trained:
                self._step(group, matrix)
        return loss

    def projection(self, matrix: Tensor, rank: int, cycle: int) -> Tensor:
        """P of the shorter side (min(m, n), r) in a cycle of `kappa` steps, float32."""
        random = generator(self.seed, f"flora/{self.number[matrix]}/{cycle}")
        drawn = torch.randn(min(matrix.shape), rank, generator=random)
        return drawn.to(matrix.device) / rank**0.5

    def _step(self, group: dict[str, Any], matrix: Tensor) -> None:
        assert matrix.grad is not None
        wide = matrix.shape[0] < matrix.shape[1]
        gradient = matrix.grad.T if wide else matrix.grad
        state = self._state(matrix, gradient, group["rank"])
        state["step"] += 1
        momentum = self._momentum(group, matrix, gradient, state)
        update = adafactor_direction(momentum, state)
        matrix.mul_(1 - group["lr"] * group["weight_decay"])
        matrix.sub_(update.T if wide else update, alpha=group["lr"])

    def _momentum(
        self, group: dict[str, Any], matrix: Tensor, gradient: Tensor, state: dict[str, Tensor]
    ) -> Tensor:
        """M P^T with this step's gradient in it; M goes over to a new P where a cycle begins."""
        before, rank, beta = int(state["step"]) - 1, group["rank"], group["betas"][0]
        cycle = before // self.kappa
        P = self.projection(matrix, rank, cycle)
        if before and before % self.kappa == 0:
            old = self.projection(matrix, rank, cycle - 1)
            state["momentum"].copy_(state["momentum"] @ (old.T @ P))
        state["momentum"].lerp_(gradient @ P, 1 - beta)
        return state["momentum"] @ P.T

    def _state(self, matrix: Tensor, gradient: Tensor, rank: int) -> dict[str, Tensor]:
        state: dict[str, Tensor] = self.state[matrix]
        if not state:
            state["step"] = torch.tensor(0.0)
            state["momentum"] = gradient.new_zeros(len(gradient), rank)
            state["rows"] = gradient.new_zeros(len(gradient))
            state["columns"] = gradient.new_zeros(gradient.shape[1])
        return state


def adafactor_direction(gradient: Tensor, state: dict[str, Tensor]) -> Tensor:
    """The gradient over the root of its factored second moment, no longer than 1 an entry."""
    forget = float(state["step"]) ** -0.8
    square = gradient.square() + SMALL
    state["rows"].lerp_(square.mean(dim=1), forget)
    state["columns"].lerp_(square.mean(dim=0), forget)
    moment = torch.outer(state["rows"] / state["rows"].mean(), state["columns"])
    update = gradient / moment.sqrt()
    return update / update.square().mean().sqrt().clamp(min=1.0)
