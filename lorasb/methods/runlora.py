"""RunLoRA (arXiv 2312.03415): LoRA, computed by the products that take the fewest operations."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from lorasb.errors import UserError
from lorasb.methods.method import Context, Network
from lorasb.methods.peft.method import PeftMethod

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class RunLoRA(PeftMethod):
    """W0 + s B A: the same function as LoRA's, the same numbers to rounding.

    Arguments: `options` of PEFT's `LoraConfig`, without dropout: a mask on the adapter's input
    alone fits no product with the merged weight.
    """

    keys: ClassVar = {"options": {"type": "object"}}

    def __init__(self, options: dict[str, Any]) -> None:
        super().__init__(config="LoraConfig", options=options, counts="lora")
        for name in ("lora_dropout", "use_dora", "velora_config", "lora_bias"):
            if options.get(name):
                raise UserError(f"arguments.options: {name} does not go with runlora; leave it out")

    def wrap(self, model: PreTrainedModel, context: Context) -> Network:
        """LoRA whose layers choose their products."""
        from lorasb.methods.runlora_layer import choose_products

        return choose_products(super().wrap(model, context))

    def load(self, model: PreTrainedModel, folder: Path) -> Network:
        """The adapter, computed as it was in training."""
        from lorasb.methods.runlora_layer import choose_products

        return choose_products(super().load(model, folder))


METHOD = RunLoRA
