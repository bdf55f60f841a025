"""LoRA-One (arXiv 2502.01235): LoRA that starts at the best form of one full gradient step."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from lorasb.methods.method import Context, Network
from lorasb.methods.peft.method import PeftMethod

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class LoraOne(PeftMethod):
    """W = W0 + s B A with B = U_r sqrt(S_r / (S_1 gamma)), A = sqrt(S_r / (S_1 gamma)) V_r^T.

    U S V^T is the SVD of -g, g the gradient; s B A starts with a spectral norm of s / gamma. The
    authors' code, whose rate and gamma their README and paper state otherwise.

    Arguments: `gamma`, and `options` of PEFT's `LoraConfig`.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"gradient"})
    keys: ClassVar = {
        "gamma": {"type": "number", "exclusiveMinimum": 0},
        "options": {"type": "object"},
    }

    def __init__(self, gamma: float, options: dict[str, Any]) -> None:
        super().__init__(config="LoraConfig", options=options, counts="lora")
        self.gamma = gamma

    def wrap(self, model: PreTrainedModel, context: Context) -> Network:
        """LoRA at the start above."""
        from lorasb.methods.peft.moved_start import lora_layers
        from lorasb.start.gradients import load_gradients

        factors = context.factorize(load_gradients(context.inputs["gradient"]), context.rank)
        adapted = super().wrap(model, context)
        for name, layer in lora_layers(adapted).items():
            found = factors[name]
            root = (found.S / (found.S[0] * self.gamma)).sqrt()
            layer.lora_A["default"].weight.data.copy_(root[:, None] * found.V.T)
            layer.lora_B["default"].weight.data.copy_(-found.U * root)
        return adapted


METHOD = LoraOne
