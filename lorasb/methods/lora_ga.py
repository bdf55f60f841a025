"""LoRA-GA (arXiv 2407.05000): A and B start at singular directions of the gradient."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

from lorasb.methods.method import Context, Network
from lorasb.methods.peft.method import PeftMethod

if TYPE_CHECKING:
    from peft import PeftConfig
    from transformers import PreTrainedModel

    from lorasb.methods.counts import Counts


class LoraGA(PeftMethod):
    """W = (W0 - s B0 A0) + s B A with s = alpha / sqrt(r), of a gradient g = U S V^T (m, n).

    A0 = c V_{1:r}^T and B0 = c U_{r+1:2r} with c = m^(1/4) / sqrt(gamma), so that the first step of
    gradient descent changes W along the best form of g of rank 2r. The authors' direction "ArB2r".
    PEFT's option of this name has B0 = c U_{r+1:2r} S_{r+1:2r} and no c in A0.

    Arguments: `alpha` and `gamma`. s is written as alpha sqrt(r) / r, so that the saved adapter,
    plain LoRA of rank 2r, has the same.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"gradient"})
    keys: ClassVar = {
        "alpha": {"type": "number", "exclusiveMinimum": 0},
        "gamma": {"type": "number", "exclusiveMinimum": 0},
    }
    moves_start = True

    def __init__(self, alpha: float, gamma: float) -> None:
        options = {"r": "rank", "lora_alpha": alpha, "lora_dropout": 0.0}
        super().__init__(config="LoraConfig", options=options, counts="pissa")
        self.alpha, self.gamma = alpha, gamma

    def peft_config(self, context: Context) -> PeftConfig:
        """LoRA with s = alpha / sqrt(r)."""
        config = super().peft_config(context)
        config.lora_alpha = self.alpha * context.rank**0.5
        return config

    def wrap(self, model: PreTrainedModel, context: Context) -> Network:
        """LoRA at the start above, which is taken out of the weights."""
        import peft

        from lorasb.methods.peft.moved_start import move_start
        from lorasb.start.gradients import load_gradients

        rank = context.rank
        factors = context.factorize(load_gradients(context.inputs["gradient"]), 2 * rank)
        start = {}
        for name, found in factors.items():
            size = len(found.U) ** 0.25 / self.gamma**0.5
            B = (size * found.U[:, rank : 2 * rank]).contiguous()
            start[name] = ((size * found.V[:, :rank].T).contiguous(), B)
        adapted = peft.get_peft_model(model, self.peft_config(context))
        move_start(adapted, start)
        return adapted

    def count(self, shapes: Mapping[str, tuple[int, int]], rank: int, base_params: int) -> Counts:
        """As PiSSA, of a weight with twice as many directions as the rank."""
        from lorasb.methods import counts

        counts.fitting(self.adapted(shapes), 2 * rank)
        return super().count(shapes, rank, base_params)


METHOD = LoraGA
