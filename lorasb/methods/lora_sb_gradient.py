"""LoRA-SB from the gradient itself, in place of its sign."""

from __future__ import annotations

from typing import ClassVar

from lorasb.methods.lora_sb import LoraSB
from lorasb.methods.method import Context, Network


class GradientLoraSB(LoraSB):
    """LoRA-SB with the SVD of g sqrt(m n) / |g| in place of that of sign(g); |.| is Frobenius'.

    The first step of gradient descent, as long as AdamW's: all entries of sign(g) have size 1, so
    its norm is sqrt(m n). A gradient's spectrum falls faster than that of its sign, of which the
    same rank therefore keeps less.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"gradient"})

    def fill(self, adapted: Network, context: Context) -> None:
        """B, R and A from the gradient, made as long as its sign."""
        from lorasb.start.gradients import load_gradients

        gradients = load_gradients(context.inputs["gradient"])
        steps = {name: g * (g.numel() ** 0.5 / g.norm()) for name, g in gradients.items()}
        self.fill_from(adapted, context, steps)


METHOD = GradientLoraSB
