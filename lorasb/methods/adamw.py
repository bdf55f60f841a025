"""AdamW for optimisers that have rules of their own for some parameters alone."""

from __future__ import annotations

from collections.abc import MutableMapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.optim.adamw import adamw

# an optimiser's: parameter -> its state
States = MutableMapping[Tensor, dict[str, Tensor]]


def adamw_step(
    states: States, group: dict[str, Any], parameters: Sequence[Tensor], gradients: Sequence[Any]
) -> None:
    """One step of torch's AdamW along these gradients; `group` has its settings."""
    own = [moments(states, p, g) for p, g in zip(parameters, gradients, strict=True)]
    adamw(
        list(parameters),
        list(gradients),
        [state["exp_avg"] for state in own],
        [state["exp_avg_sq"] for state in own],
        [],
        [state["step"] for state in own],
        foreach=False,
        amsgrad=False,
        beta1=group["betas"][0],
        beta2=group["betas"][1],
        lr=group["lr"],
        weight_decay=group["weight_decay"],
        eps=group["eps"],
        maximize=False,
    )


def moments(states: States, owner: Tensor, gradient: Tensor) -> dict[str, Tensor]:
    """The owner's step counter and two moments of the gradient's shape, zero at first."""
    state = states[owner]
    if not state:
        state["step"] = torch.tensor(0.0)
        state["exp_avg"] = torch.zeros_like(gradient)
        state["exp_avg_sq"] = torch.zeros_like(gradient)
    return state
