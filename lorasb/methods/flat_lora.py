"""Flat-LoRA (arXiv 2409.14396): LoRA trained under noise on the whole weight, for flat minima."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, ClassVar

from lorasb.methods.method import Network
from lorasb.methods.peft.method import PeftMethod

if TYPE_CHECKING:
    from lorasb.methods.hooks import StepHook


class FlatLora(PeftMethod):
    """min E L(W' + eps), W' = W0 + s B A, eps_ij ~ N(0, sigma_t^2 |W'_i|^2 / n) for row i of n.

    sigma_t = sigma (1 - cos(pi t / T)) / 2 after t of T steps. One eps a step, for all its passes;
    the frozen weight is then put back from a copy, so that it keeps its bits.

    Arguments: `options` of PEFT's `LoraConfig`, and `sigma`.
    """

    keys: ClassVar = {
        "options": {"type": "object"},
        "sigma": {"type": "number", "minimum": 0},
    }

    def __init__(self, options: dict[str, Any], sigma: float) -> None:
        super().__init__(config="LoraConfig", options=options, counts="lora")
        self.sigma = sigma

    def hooks(self, model: Network) -> list[StepHook]:
        """The noise."""
        from lorasb.methods.flat_lora_noise import Noise

        return [*super().hooks(model), Noise(model, self.sigma)]


def strength(sigma: float, step: int, steps: int) -> float:
    """sigma_t after so many of all steps: 0 at the start, half at the middle, sigma at the end."""
    return sigma / 2 * (1 - math.cos(math.pi * step / steps))


METHOD = FlatLora
