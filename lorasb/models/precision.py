"""What is trained is held in float32, whatever the dtype of the base model.

bfloat16 keeps 8 bits of a number: an update below about 1/256 of a weight is lost when it is added,
and with usual learning rates most are. Frozen weights may stay in bfloat16.
"""

from __future__ import annotations

from collections.abc import Collection
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from lorasb.models.layers import ends_with


def hold_in_float32(model: nn.Module, modules: Collection[str], *, narrow: bool = False) -> None:
    """Make modules of these names float32, in a model whose other weights have fewer bits.

    They cast what they are given, so that the model runs with and without autocast, and with
    `narrow` what they return to the dtype that they had. A name is a module's whole name, or its
    end after a dot. Modules that are float32 or wider stay as they are.
    """
    for name, module in model.named_modules():
        if any(ends_with(name, wanted) for wanted in modules) and lower(module):
            dtype = next(module.parameters()).dtype
            module.float()
            module.register_forward_pre_hook(_widen)
            if narrow:
                module.register_forward_hook(partial(_narrow, dtype))


def lower(module: nn.Module, *, trained: bool = False) -> list[str]:
    """The parameters with fewer bits than float32, by name; with `trained` only what is trained."""
    return [
        name
        for name, value in module.named_parameters()
        if value.dtype.itemsize < torch.float32.itemsize and (value.requires_grad or not trained)
    ]


def _widen(module: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    """A forward pre-hook: floating inputs as float32."""
    return tuple(
        value.float() if isinstance(value, Tensor) and torch.is_floating_point(value) else value
        for value in inputs
    )


def _narrow(
    dtype: torch.dtype, module: nn.Module, inputs: tuple[Any, ...], output: Tensor
) -> Tensor:
    """A forward hook: the output in this dtype."""
    return output.to(dtype)
