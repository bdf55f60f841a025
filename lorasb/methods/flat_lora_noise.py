"""Flat-LoRA's noise: drawn before a step's passes, taken away before the optimiser moves."""

from __future__ import annotations

from typing import Any

import torch
from peft.tuners.lora import LoraLayer
from torch import Tensor

from lorasb.methods.flat_lora import strength
from lorasb.methods.hooks import StepHook
from lorasb.methods.method import Network
from lorasb.methods.peft.moved_start import lora_layers
from lorasb.models.layers import oriented_weight
from lorasb.seeding import generator


class Noise(StepHook):
    """Follows from the seed, the step and the layer alone: a resumed run has the same."""

    def __init__(self, model: Network, sigma: float) -> None:
        self.layers = lora_layers(model)
        self.sigma = sigma
        self.kept: dict[str, Tensor] = {}

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Add this step's noise to the frozen weights."""
        sigma = strength(self.sigma, state.global_step, state.max_steps)
        for name, layer in self.layers.items():
            base = layer.get_base_layer()
            self.kept[name] = base.weight.data
            random = generator(args.seed, f"noise/{state.global_step}/{name}")
            eps = noise(merged(layer), sigma, random).to(base.weight)
            base.weight.data = base.weight.data + (eps.T if layer.fan_in_fan_out else eps)

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Put the frozen weights back."""
        for name, layer in self.layers.items():
            layer.get_base_layer().weight.data = self.kept.pop(name)


@torch.no_grad()
def merged(layer: LoraLayer) -> Tensor:
    """W' (out, in) in float32."""
    delta = layer.get_delta_weight("default").float()
    whole: Tensor = oriented_weight(layer.get_base_layer()).float() + (
        delta.T if layer.fan_in_fan_out else delta
    )
    return whole


def noise(weight: Tensor, sigma: float, random: torch.Generator) -> Tensor:
    """Independent entries of standard deviation sigma |W'_i| / sqrt(n), row by row."""
    drawn = torch.randn(weight.shape, generator=random).to(weight.device)
    rows = weight.norm(dim=1, keepdim=True)
    return sigma * rows / weight.shape[1] ** 0.5 * drawn
