"""Full fine-tuning: every weight is trained."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from lorasb.errors import UserError
from lorasb.methods.method import Context, Method, Network

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

    from lorasb.methods.counts import Counts


class Full(Method):
    """Trains all weights; stores a whole model."""

    has_rank = False

    def attach(self, model: PreTrainedModel, context: Context) -> Network:
        """Make every weight trainable."""
        model.requires_grad_(True)
        return model

    def save(self, model: Network, folder: Path) -> None:
        """Write the whole model in transformers' format."""
        model.save_pretrained(folder)

    def load(self, model: PreTrainedModel, folder: Path) -> Network:
        """Read the whole model back into `model`."""
        from lorasb.files import load_tensors

        # tied weights are stored once
        missing, unexpected = model.load_state_dict(
            load_tensors(folder / "model.safetensors"), strict=False
        )
        lost = set(missing) - set(model.all_tied_weights_keys)
        if lost or unexpected:
            raise UserError(f"{folder}: not the weights of this model; train again")
        return model

    def updates(self, model: Network, base: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Weights now minus weights before."""
        from lorasb.models.layers import oriented_weight

        return {
            name: oriented_weight(model.get_submodule(name)).float() - weight.float()
            for name, weight in base.items()
        }

    def count(self, shapes: Mapping[str, tuple[int, int]], rank: int, base_params: int) -> Counts:
        """Everything is trained, and a whole model is stored."""
        from lorasb.methods import counts

        return counts.full(shapes, base_params)


METHOD = Full
