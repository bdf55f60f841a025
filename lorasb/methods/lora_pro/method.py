"""LoRA-Pro (arXiv 2407.18242): LoRA whose steps come closest to those of full fine-tuning."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from lorasb.errors import UserError
from lorasb.methods.method import Network
from lorasb.methods.peft.method import PeftMethod

if TYPE_CHECKING:
    import torch

    from lorasb.methods.lora_pro.optimizer import Form, Pair

# form -> closed form of its counts
COUNT_OF_FORM = {"full": "lora-pro", "efficient": "lora"}


class LoraPro(PeftMethod):
    """PEFT's LoRA with the optimiser beside this file, which has the equations.

    Arguments: `form`, "full" (the paper's) or "efficient"; `options` of PEFT's `LoraConfig`.
    """

    keys: ClassVar = {"form": {"enum": list(COUNT_OF_FORM)}, "options": {"type": "object"}}

    def __init__(self, form: Form, options: dict[str, Any]) -> None:
        super().__init__(config="LoraConfig", options=options, counts=COUNT_OF_FORM[form])
        self.form: Form = form

    def optimizer(
        self, model: Network, learning_rate: float, weight_decay: float
    ) -> torch.optim.Optimizer:
        """LoRA-Pro on the adapters' pairs, AdamW on whatever else is trained."""
        from lorasb.methods.lora_pro import optimizer

        pairs = lora_pairs(model)
        factors = {id(factor) for pair in pairs for factor in (pair.A, pair.B)}
        others = [p for p in model.parameters() if p.requires_grad and id(p) not in factors]
        return optimizer.LoraProAdamW(
            pairs, others, lr=learning_rate, form=self.form, weight_decay=weight_decay
        )


def lora_pairs(model: Network, adapter_name: str = "default") -> list[Pair]:
    """Each adapted layer's A and B with its own scaling, in the model's order.

    Raises
    ------
    UserError
        If a layer is more than W0 + s B A, such as DoRA's.
    """
    from peft.tuners.lora import LoraLayer

    from lorasb.methods.lora_pro.optimizer import Pair

    layers = {name: m for name, m in model.named_modules() if isinstance(m, LoraLayer)}
    for name, layer in layers.items():
        if adapter_name in layer.lora_variant or adapter_name not in layer.lora_A:
            raise UserError(f"{name}: LoRA-Pro needs a plain LoRA, W0 + s B A, of a linear layer")
    return [
        Pair(
            layer.lora_A[adapter_name].weight,
            layer.lora_B[adapter_name].weight,
            layer.scaling[adapter_name],
        )
        for layer in layers.values()
    ]


METHOD = LoraPro
