"""Full fine-tuning: every weight is trained.

Weights are held in float32 whatever the dtype of the base model: in bfloat16 most updates are too
small to change a weight. The argument `weights: base` holds them in the model's own dtype instead,
for models that do not fit otherwise; in bfloat16 a compensated (Kahan) sum then keeps what each
step's rounding cuts off, while gradients and moments have 8 bits too.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal, get_args

from lorasb.errors import UserError, one_line, remake
from lorasb.methods.method import Context, Method, Network

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

    from lorasb.methods.counts import Counts

Weights = Literal["float32", "base"]


class Full(Method):
    """Trains all weights; stores a whole model. Argument: `weights`, "float32" or "base"."""

    has_rank = False
    keys: ClassVar = {"weights": {"enum": list(get_args(Weights)), "default": "float32"}}

    def __init__(self, weights: Weights = "float32") -> None:
        super().__init__()
        self.weights: Weights = weights

    def attach(self, model: PreTrainedModel, context: Context) -> Network:
        """Make every weight trainable."""
        return self._held(model).requires_grad_(True)

    def save(self, model: Network, folder: Path) -> None:
        """Write the whole model in transformers' format, in the dtype that was trained."""
        model.save_pretrained(folder)

    def load(self, model: PreTrainedModel, folder: Path) -> Network:
        """Read the whole model back into `model`."""
        from lorasb.methods.saved import load_saved, refuse_other_names

        model = self._held(model)
        path = folder / "model.safetensors"
        tensors = load_saved(path)
        # tied weights are stored once
        tied = set(model.all_tied_weights_keys) - tensors.keys()
        refuse_other_names(path, tensors, model.state_dict().keys() - tied)
        try:
            model.load_state_dict(tensors, strict=False)
        except RuntimeError as error:
            raise UserError(f"{path}: {one_line(error)}; {remake(folder)}") from error
        return model

    def updates(self, model: Network, base: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Weights now minus weights before."""
        from lorasb.models.layers import oriented_weight

        return {
            name: oriented_weight(model.get_submodule(name)).float() - weight.float()
            for name, weight in base.items()
        }

    def optimizer(
        self, model: Network, learning_rate: float, weight_decay: float
    ) -> torch.optim.Optimizer:
        """AdamW; of optimi, with a Kahan sum for bfloat16, where the base has the dtype."""
        if self.weights == "float32":
            return super().optimizer(model, learning_rate, weight_decay)
        import optimi

        # foreach and triton: one sum for all devices
        return optimi.AdamW(
            list(model.parameters()),
            lr=learning_rate,
            weight_decay=weight_decay,
            betas=(0.9, 0.999),
            eps=1e-8,
            foreach=False,
            triton=False,
        )

    def count(self, shapes: Mapping[str, tuple[int, int]], rank: int, base_params: int) -> Counts:
        """Everything is trained, and a whole model is stored."""
        from lorasb.methods import counts

        whole = counts.full(shapes, base_params)
        # the Kahan sum keeps one number more
        return whole if self.weights == "float32" else replace(whole, adapter_state=3 * base_params)

    def bytes_a_number(self, base_bytes: int) -> int:
        """Those of float32 or of the base."""
        return super().bytes_a_number(base_bytes) if self.weights == "float32" else base_bytes

    def _held(self, model: PreTrainedModel) -> PreTrainedModel:
        from lorasb.models.precision import lower

        return model.float() if self.weights == "float32" and lower(model) else model


METHOD = Full
