"""Which layers of a model are adapted, and their weights as (out, in)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import torch
from torch import nn
from transformers.pytorch_utils import Conv1D

from lorasb.errors import UserError

PREFIX = "base_model.model."  # of module names inside a PeftModel


Linear: TypeAlias = nn.Linear | Conv1D


def matching_modules(
    model: nn.Module, target_modules: Sequence[str], exclude: Sequence[str] = ()
) -> dict[str, Linear]:
    """The linear layers that an adapter changes, by name, in the model's order.

    PEFT's rule: a target is a layer's whole name, or its end after a dot. Layers inside a module
    of `exclude` (the task head) never match.

    Raises
    ------
    UserError
        If a target matches no linear layer.
    """
    layers = {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, Linear) and not is_inside(name, exclude)
    }
    for target in target_modules:
        if not any(_matches(name, target) for name in layers):
            ends = sorted({name.rsplit(".", 1)[-1] for name in layers})
            raise UserError(
                f"target module '{target}' matches no linear layer of {type(model).__name__}; "
                f"their names end in: {', '.join(ends)}"
            )
    return {
        name: module
        for name, module in layers.items()
        if any(_matches(name, target) for target in target_modules)
    }


def target_shapes(
    model: nn.Module, target_modules: Sequence[str], exclude: Sequence[str] = ()
) -> dict[str, tuple[int, int]]:
    """Shapes (out, in) of the weights that `matching_modules` finds."""
    modules = matching_modules(model, target_modules, exclude)
    return {name: _shape(module) for name, module in modules.items()}


def oriented_weight(module: Linear) -> torch.Tensor:
    """The layer's weight as (out, in), detached; transformers' Conv1D keeps it the other way."""
    weight = module.weight.detach()
    return weight.T if isinstance(module, Conv1D) else weight


def head_parameters(model: nn.Module, head: Sequence[str]) -> dict[str, nn.Parameter]:
    """Parameters of the task head, by name.

    Raises
    ------
    UserError
        If a module of `head` is not in the model.
    """
    parameters = dict(model.named_parameters())
    for module in head:
        if not any(is_inside(name, [module]) for name in parameters):
            raise UserError(f"task_head: {type(model).__name__} has no module '{module}'")
    return {name: value for name, value in parameters.items() if is_inside(name, head)}


def _shape(module: Linear) -> tuple[int, int]:
    rows, columns = module.weight.shape
    return (columns, rows) if isinstance(module, Conv1D) else (rows, columns)


def _matches(name: str, target: str) -> bool:
    return name == target or name.endswith(f".{target}")


def is_inside(name: str, modules: Sequence[str]) -> bool:
    """Whether a layer or parameter lies in one of the modules."""
    return any(f".{module}." in f".{name}." for module in modules)
