"""Learning rates of parts of a model."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import nn


def give_own_rate(
    optimizer: torch.optim.Optimizer, parameters: Iterable[nn.Parameter], rate: float
) -> None:
    """Move parameters of an optimiser into groups that differ in their learning rate alone.

    To be called before the first step; what the optimiser does not train is left out.
    """
    apart = {id(parameter) for parameter in parameters}
    for group in list(optimizer.param_groups):
        moved = [one for one in group["params"] if id(one) in apart]
        group["params"] = [one for one in group["params"] if id(one) not in apart]
        if moved:
            optimizer.add_param_group({**group, "params": moved, "lr": rate})
    optimizer.param_groups[:] = [group for group in optimizer.param_groups if group["params"]]
