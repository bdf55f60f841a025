"""CorDA (arXiv 2406.05223) as PEFT has it: A and B start at directions weighted by the inputs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal

from lorasb.methods.method import Context, Network
from lorasb.methods.peft.method import PeftMethod

if TYPE_CHECKING:
    from peft import LoraConfig
    from transformers import PreTrainedModel

    from lorasb.start.activations import Moments

Mode = Literal["ipm", "kpm"]


class CorDA(PeftMethod):
    """W = (W0 - s B0 A0) + s B A, of W0 C = U S V^T with C the second moment of the inputs.

    B0 = U sqrt(S / s), A0 = sqrt(S / s) V^T C^-1 for r of the directions: the first ones (`mode:
    ipm`, instruction-previewed) or the last (`kpm`, knowledge-preserved). PEFT's own numbers, its
    damping of C included.

    Arguments: `mode`, and `options` of PEFT's `LoraConfig`.
    """

    init = "corda"
    needs: ClassVar[frozenset[str]] = frozenset({"activations"})
    keys: ClassVar = {"options": {"type": "object"}, "mode": {"enum": ["ipm", "kpm"]}}

    def __init__(self, options: dict[str, Any], mode: Mode) -> None:
        super().__init__(config="LoraConfig", options=options, counts="pissa")
        self.mode: Mode = mode

    def wrap(self, model: PreTrainedModel, context: Context) -> Network:
        """LoRA at the start above, which is taken out of the weights."""
        from lorasb.models.layers import matching_modules
        from lorasb.start.activations import load_activations

        moments = load_activations(context.inputs["activations"]).moments
        config = self.peft_config(context)
        for name, layer in matching_modules(model, config).items():
            layer.eigens = self._directions(layer, moments[name], config)
        return super().wrap(model, context)

    def _directions(self, layer: Any, inputs: Moments, config: LoraConfig) -> Any:
        """What PEFT's start reads, and removes, of a layer."""
        from peft.tuners.lora.corda import CordaEigens, collect_eigens_for_layer

        # PEFT's sums over the tokens of a sample, of inputs whose largest entry is 1
        layer.covariance_matrix = inputs.second.to(layer.weight) * (
            inputs.tokens / inputs.largest**2
        )
        found = collect_eigens_for_layer(layer, config)
        del layer.covariance_matrix
        kept = slice(config.r) if self.mode == "ipm" else slice(-config.r, None)
        return CordaEigens(
            S_WC=found.S_WC[kept].clone(),
            U_WC=found.U_WC[:, kept].to(layer.weight.device),
            V_WC=found.V_WC[:, kept].to(layer.weight.device),
        )


METHOD = CorDA
