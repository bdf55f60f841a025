"""XGBLoRA's schedule: one rank at a time has gradients, and AdamW's moments of its own."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from peft.tuners.lora import LoraLayer
from torch import Tensor

from lorasb.methods.hooks import StepHook
from lorasb.methods.method import Network
from lorasb.methods.peft.moved_start import ADAPTER, lora_layers
from lorasb.seeding import generator


class Boosting(StepHook):
    """All follows from the seed and the step: a resumed run goes on in the same booster."""

    def __init__(self, model: Network, share: float) -> None:
        self.layers, self.share = lora_layers(model), share
        self.booster, self.chosen = 0, set(self.layers)
        self.before: list[Tensor] = []
        for name, layer in self.layers.items():
            for side, factor in enumerate(factors(layer)):
                own = partial(self._own, name, side)
                factor.register_hook(own)  # type: ignore[no-untyped-call]

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Go on to the next booster where its steps begin."""
        ranks = max(layer.r[ADAPTER] for layer in self.layers.values())
        steps = math.ceil(state.max_steps / ranks)
        self.booster = state.global_step // steps
        self.chosen = chosen(list(self.layers), self.share, args.seed, self.booster)
        if state.global_step % steps == 0:
            for layer in self.layers.values():
                for factor in factors(layer):
                    kwargs["optimizer"].state.pop(factor, None)

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Keep the others: weight decay would move them."""
        self.before = [f.detach().clone() for one in self.layers.values() for f in factors(one)]

    @torch.no_grad()
    def on_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Put the others back."""
        kept = iter(self.before)
        for name, layer in self.layers.items():
            for side, factor in enumerate(factors(layer)):
                factor.copy_(torch.where(self._mask(name, side), factor, next(kept)))
        self.before = []

    def _own(self, name: str, side: int, gradient: Tensor) -> Tensor:
        return torch.where(self._mask(name, side), gradient, 0.0)

    def _mask(self, name: str, side: int) -> Tensor:
        """Where A (r, n), side 0, or B (m, r), side 1, is the booster's."""
        A, _ = factors(self.layers[name])
        own = torch.arange(len(A), device=A.device) == self.booster
        return (own & (name in self.chosen)).unsqueeze(1 - side)


def factors(layer: LoraLayer) -> tuple[Tensor, Tensor]:
    """A and B."""
    return layer.lora_A[ADAPTER].weight, layer.lora_B[ADAPTER].weight


def chosen(names: Sequence[str], share: float, seed: int, booster: int) -> set[str]:
    """The weights that a booster trains; at least one."""
    order = torch.randperm(len(names), generator=generator(seed, f"booster/{booster}"))
    number = max(1, round(share * len(names)))
    return {names[index] for index in order[:number].tolist()}
