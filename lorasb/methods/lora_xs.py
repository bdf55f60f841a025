"""LoRA-XS (arXiv 2405.17604): frozen factors of the weight, a trained r x r matrix between them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from lorasb.errors import UserError
from lorasb.methods.method import Context, Network
from lorasb.methods.peft.method import LEAVE_OUT, PeftMethod, shared_options

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

    from lorasb.methods.counts import Counts
    from lorasb.tuner.config import LoraXSConfig


class LoraXS(PeftMethod):
    """W = W0 + s B R A with B = U_r, A = S_r V_r^T of W0's SVD and R ~ N(0, 1e-5^2).

    Arguments: `scaling`, the s above; `dropout` and what leaves layers out, as in `LoraXSConfig`;
    `products`: "in-order", x to A to R to B, or "fewest", the order with the fewest operations for
    each weight and batch (RunLoRA, arXiv 2312.03415), the same numbers to rounding.
    """

    needs = frozenset({"weight_factors"})
    keys: ClassVar = {
        "scaling": {"type": "number", "not": {"const": 0}, "default": 1.0, "hint": "any but 0"},
        "dropout": {"type": "number", "minimum": 0, "exclusiveMaximum": 1, "default": 0.0},
        **{name: {"type": ["array", "string", "integer"], "default": None} for name in LEAVE_OUT},
        "products": {"enum": ["in-order", "fewest"], "default": "in-order"},
    }

    def __init__(self, products: str = "in-order", **arguments: Any) -> None:
        super().__init__(**arguments)
        self.chooses = products == "fewest"
        if self.chooses and arguments.get("dropout"):
            raise UserError(
                "arguments: dropout masks the adapter's input alone, which fits no merged weight; "
                "leave out dropout, or products: fewest"
            )

    def peft_config(self, context: Context) -> LoraXSConfig:
        """An adapter whose bases are filled by `attach`."""
        from lorasb.tuner.config import LoraXSConfig

        return LoraXSConfig(
            r=context.rank,
            init_weights="empty",
            save_dtype="float32",
            **self.arguments,
            **shared_options(context),
        )

    def wrap(self, model: PreTrainedModel, context: Context) -> Network:
        """The model with empty adapters."""
        return self._chosen(super().wrap(model, context))

    def load(self, model: PreTrainedModel, folder: Path) -> Network:
        """The adapter, computed as it was in training."""
        return self._chosen(super().load(model, folder))

    def _chosen(self, adapted: Network) -> Network:
        from lorasb.methods.lora_xs_products import choose_products

        return choose_products(adapted) if self.chooses else adapted

    def attach(self, model: PreTrainedModel, context: Context) -> Network:
        """Wrap the model and fill B, R, A."""
        adapted = super().attach(model, context)
        self.fill(adapted, context)
        return adapted

    def fill(self, adapted: Network, context: Context) -> None:
        """B and A from the shared factors of the weights, R drawn near zero."""
        from lorasb.seeding import generator
        from lorasb.start.factors import load_factors
        from lorasb.start.fill import initialize_lora_xs

        factors = load_factors(context.inputs["weight_factors"], context.rank)
        initialize_lora_xs(adapted, factors, generator=generator(context.seed, "adapter"))

    def fixed_bases(self, model: Network) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
        """B, and A transposed, of each adapted weight."""
        from lorasb.tuner import LoraXSLayer

        return {
            name: (layer.lora_xs_B["default"], layer.lora_xs_A["default"].T)
            for name, layer in model.get_base_model().named_modules()
            if isinstance(layer, LoraXSLayer)
        }

    def count(self, shapes: Mapping[str, tuple[int, int]], rank: int, base_params: int) -> Counts:
        """R is stored; the bases can be computed again from the base model."""
        from lorasb.methods import counts

        return counts.lora_xs(self.adapted(shapes), rank)


METHOD = LoraXS
