"""Weights that accelerate keeps in host memory or on the disk until a layer uses them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from accelerate.hooks import ModelHook, SequentialHook
from accelerate.utils import has_offloaded_params
from torch import Tensor, nn
from transformers import PreTrainedModel

from lorasb.errors import UserError
from lorasb.models.layers import Linear

Take = Callable[[Tensor], None]


def refuse_hollow(modules: Mapping[str, Linear]) -> None:
    """Refuse weights that are nowhere (UserError)."""
    for name, module in modules.items():
        if module.weight.is_meta and not has_offloaded_params(module):
            raise UserError(
                f"{name}: its weight is on the meta device and nothing loads it; load the model by "
                "from_pretrained, with a device_map if it is too large"
            )


def computing_device(layer: Any) -> torch.device:
    """Where a layer with a weight computes: where that is, or is loaded to."""
    if has_offloaded_params(layer):
        return torch.device(layer._hf_hook.execution_device)
    device: torch.device = layer.weight.device
    return device


def input_device(model: PreTrainedModel) -> torch.device:
    """Where a model takes its inputs; one that is offloaded from its first layer on moves them."""
    return torch.device("cpu") if model.device.type == "meta" else model.device


@contextmanager
def own_weight(module: Linear, take: Take) -> Iterator[None]:
    """Give a layer a parameter of its own, and hand it to `take` once it has its gradient.

    The layer's weight itself may be tied to another layer's.
    """
    attribute = "_hf_hook" if has_offloaded_params(module) else "weight"
    before = getattr(module, attribute)
    if attribute == "weight":
        module.weight = _watched(before, take)
    else:
        module._hf_hook = SequentialHook(before, _OnceLoaded(take))
    try:
        yield
    finally:
        setattr(module, attribute, before)


class _OnceLoaded(ModelHook):  # type: ignore[misc]
    """Puts the layer's own parameter in place of the weight that the hook before it has loaded."""

    def __init__(self, take: Take) -> None:
        self.take = take

    def pre_forward(self, module: Linear, *args: Any, **kwargs: Any) -> Any:
        module.weight = _watched(module.weight, self.take)
        return args, kwargs


def _watched(weight: Tensor, take: Take) -> nn.Parameter:
    own = nn.Parameter(weight.detach())
    own.register_post_accumulate_grad_hook(take)  # type: ignore[no-untyped-call]
    return own
