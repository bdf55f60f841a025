"""SoRA's gate on the rows of A, and its proximal step."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from lorasb.methods.hooks import StepHook


class Gate(nn.Module):
    """diag(g) A, g ~ N(0, 1) from the global random state."""

    def __init__(self, A: Tensor) -> None:
        super().__init__()
        self.gate = nn.Parameter(torch.randn(len(A), dtype=A.dtype, device=A.device))

    def forward(self, A: Tensor) -> Tensor:
        """Rows of A (r, in) times their gates."""
        return self.gate[:, None] * A


class Proximal(StepHook):
    """Shrinks gates after each step of the optimiser."""

    def __init__(
        self, model: nn.Module, size: float, threshold: str, stages: int, *, by_rate: bool
    ) -> None:
        self.gates = [module.gate for module in model.modules() if isinstance(module, Gate)]
        self.size, self.threshold, self.by_rate = size, threshold, by_rate
        self.stages = stages

    def on_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """g <- T(g)."""
        rate = kwargs["optimizer"].param_groups[0]["lr"] if self.by_rate else 1.0
        stage = self.stages * state.global_step // state.max_steps + 1
        tau = rate * self.size * (stage / self.stages)
        for gate in self.gates:
            gate.data.copy_(shrunk(gate.data, tau, self.threshold))


def shrunk(values: Tensor, tau: float, threshold: str) -> Tensor:
    """sign(v) max(|v| - tau, 0); "official": zero below 2 tau, as the authors' code has it."""
    soft = values.sign() * (values.abs() - tau).clamp(min=0.0)
    return soft if threshold == "soft" else soft.where(values.abs() >= 2 * tau, 0.0)
