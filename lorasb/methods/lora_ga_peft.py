"""LoRA-GA (arXiv 2407.05000) in the numbers of PEFT, which differ from the paper's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from lorasb.methods.method import Context, Network
from lorasb.methods.peft.method import PeftMethod

if TYPE_CHECKING:
    from peft import LoraConfig
    from transformers import PreTrainedModel

    from lorasb.methods.counts import Counts


class PeftLoraGA(PeftMethod):
    """W = (W0 - s B0 A0) + s B A with A0 = V_{1:r}^T, B0 = c U_{r+1:2r} S_{r+1:2r}.

    g = U S V^T is the mean gradient of the samples, c = m^(1/4) / sqrt(gamma): the size of the
    gradient is in the start, where the paper's A0 = c V_{1:r}^T and B0 = c U_{r+1:2r} have none.

    Arguments: `gamma`, and `options` of PEFT's `LoraConfig`.
    """

    init = "lora_ga"
    needs: ClassVar[frozenset[str]] = frozenset({"gradient"})
    keys: ClassVar = {
        "options": {"type": "object"},
        "gamma": {"type": "number", "exclusiveMinimum": 0},
    }

    def __init__(self, options: dict[str, Any], gamma: float) -> None:
        super().__init__(config="LoraConfig", options=options, counts="pissa")
        self.gamma = gamma

    def peft_config(self, context: Context) -> LoraConfig:
        """LoRA with PEFT's start of this name."""
        from peft import LoraGAConfig

        config = super().peft_config(context)
        config.lora_ga_config = LoraGAConfig(stable_gamma=self.gamma)
        return config

    def wrap(self, model: PreTrainedModel, context: Context) -> Network:
        """LoRA at the start above, which is taken out of the weights."""
        from transformers.pytorch_utils import Conv1D

        from lorasb.models.layers import matching_modules
        from lorasb.start.gradients import load_gradients

        gradients = load_gradients(context.inputs["gradient"])
        config = self.peft_config(context)
        for name, layer in matching_modules(model, config).items():
            mean = gradients[name].to(layer.weight.device) / context.samples
            # as the layer keeps its weight; PEFT reads and removes it
            layer._peft_loraga_grad = mean.T if isinstance(layer, Conv1D) else mean
        return super().wrap(model, context)

    def count(self, shapes: Mapping[str, tuple[int, int]], rank: int, base_params: int) -> Counts:
        """As PiSSA, of a weight with twice as many directions as the rank."""
        from lorasb.methods import counts

        counts.fitting(self.adapted(shapes), 2 * rank)
        return super().count(shapes, rank, base_params)


METHOD = PeftLoraGA
