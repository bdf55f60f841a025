"""EVA (arXiv 2410.07170): LoRA whose A starts at the principal directions of its inputs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from lorasb.methods.method import Context, Network
from lorasb.methods.peft.method import PeftMethod

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class EVA(PeftMethod):
    """W = W0 + s B A with A = V_r^T, the first directions of the inputs' covariance, and B = 0.

    PEFT's numbers with `rho: 1`, where every weight has the cell's rank, and `use_label_mask:
    false`, up to the signs of directions, which change nothing while B is 0. PEFT finds them by an
    incremental randomised SVD; here they are those of the covariance itself.

    Arguments: `options` of PEFT's `LoraConfig`.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"activations"})
    keys: ClassVar = {"options": {"type": "object"}}

    def __init__(self, options: dict[str, Any]) -> None:
        super().__init__(config="LoraConfig", options=options, counts="lora")

    def wrap(self, model: PreTrainedModel, context: Context) -> Network:
        """LoRA at the start above."""
        from lorasb.methods.peft.moved_start import lora_layers
        from lorasb.start.activations import load_activations

        moments = load_activations(context.inputs["activations"]).moments
        covariances = {name: own.covariance for name, own in moments.items()}
        factors = context.factorize(covariances, context.rank)
        adapted = super().wrap(model, context)
        for name, layer in lora_layers(adapted).items():
            layer.lora_A["default"].weight.data.copy_(factors[name].V.T)
        return adapted


METHOD = EVA
