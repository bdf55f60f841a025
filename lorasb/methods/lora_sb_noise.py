"""LoRA-SB started from a perturbed first step: how much of the gain is the gradient's?"""

from __future__ import annotations

from typing import Any, ClassVar

from lorasb.errors import UserError
from lorasb.methods.lora_sb import LoraSB
from lorasb.methods.method import Context, Network

LEVEL = {"type": "number", "minimum": 0}


class NoisyLoraSB(LoraSB):
    """LoRA-SB with the SVD of signal * sign(g) + noise * N, N of independent N(0, 1) entries.

    In units of eta, so a level means the same at every learning rate: the entries of sign(g) have
    size 1. The paper (arXiv 2411.19557, its ablation of the initialisation) adds noise of fixed
    levels to -eta sign(g). With signal 0 and noise 1 the bases are random, as those of a Kaiming
    matrix, and R has the size that it has at a step of eta.

    Arguments: those of LoRA-SB, and `signal` and `noise`, not both 0.
    """

    needs = frozenset({"gradient"})
    keys: ClassVar = {**LoraSB.keys, **dict.fromkeys(("signal", "noise"), LEVEL)}

    def __init__(self, signal: float, noise: float, **arguments: Any) -> None:
        super().__init__(**arguments)
        if signal == noise == 0:
            raise UserError("arguments: signal and noise are both 0; one should be above 0")
        self.signal, self.noise = signal, noise

    def fill(self, adapted: Network, context: Context) -> None:
        """B, R and A from the SVD of the perturbed step."""
        import torch

        from lorasb.seeding import generator
        from lorasb.start.gradients import load_gradients

        random = generator(context.seed, "noise")
        steps = {
            name: self.signal * gradient.sign()
            + self.noise * torch.randn(gradient.shape, generator=random)
            for name, gradient in load_gradients(context.inputs["gradient"]).items()
        }
        self.fill_from(adapted, context, steps)


METHOD = NoisyLoraSB
