"""Learning rates of parts of a model."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import compress
from typing import Any

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
        chosen = [id(one) in apart for one in group["params"]]
        if any(chosen):
            moved, left = _part(group, chosen, True), _part(group, chosen, False)
            group.update(left)
            optimizer.add_param_group({**group, **moved, "lr": rate})
    optimizer.param_groups[:] = [group for group in optimizer.param_groups if group["params"]]


def _part(group: dict[str, Any], chosen: list[bool], wanted: bool) -> dict[str, list[Any]]:
    """The entries of a group that have a value for each parameter, cut to the wanted ones."""
    mask = [one == wanted for one in chosen]
    return {
        key: list(compress(value, mask))
        for key, value in group.items()
        if isinstance(value, list) and len(value) == len(chosen)
    }
