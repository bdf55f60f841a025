"""Flora (arXiv 2402.03293): full fine-tuning with an optimiser whose state is of low rank."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

from lorasb.methods.full import Full
from lorasb.methods.method import Context, Network

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

    from lorasb.methods.counts import Counts


class FloraMethod(Full):
    """Trains all weights, those that adapters would change with the optimiser beside this file.

    Arguments: `kappa`, the steps between two projections.
    """

    has_rank = True
    keys: ClassVar = {"kappa": {"type": "integer", "minimum": 1}}

    def __init__(self, kappa: int) -> None:
        super().__init__()
        self.kappa = kappa

    def attach(self, model: PreTrainedModel, context: Context) -> Network:
        """Make every weight trainable; the model notes which are projected, to which rank."""
        from lorasb.models.layers import matching_modules
        from lorasb.seeding import derive_seed

        adapted = super().attach(model, context)
        modules = matching_modules(model, context.target_modules, context.task_head)
        shapes = {name: tuple(module.weight.shape) for name, module in modules.items()}
        self.count(shapes, context.rank, 0)  # refuses a rank that does not fit
        adapted.projected = [module.weight for module in modules.values()]
        adapted.projection = {"rank": context.rank, "seed": derive_seed(context.seed, "adapter")}
        return adapted

    def optimizer(
        self, model: Network, learning_rate: float, weight_decay: float
    ) -> torch.optim.Optimizer:
        """Flora on the adapted weights, AdamW on all others."""
        from lorasb.methods.flora.optimizer import Flora

        own = {id(weight) for weight in model.projected}
        return Flora(
            model.projected,
            [weight for weight in model.parameters() if id(weight) not in own],
            lr=learning_rate,
            kappa=self.kappa,
            weight_decay=weight_decay,
            **model.projection,
        )

    def count(self, shapes: Mapping[str, tuple[int, int]], rank: int, base_params: int) -> Counts:
        """As full fine-tuning, with a smaller state of the optimiser."""
        from dataclasses import replace

        from lorasb.methods import counts

        sizes = counts.fitting(shapes, rank)
        state = sum(rank * max(m, n) + m + n for m, n in sizes)
        others = 2 * (base_params - sum(m * n for m, n in sizes))
        return replace(super().count(shapes, rank, base_params), adapter_state=state + others)


METHOD = FloraMethod
