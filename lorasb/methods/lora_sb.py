"""LoRA-SB (arXiv 2411.19557): LoRA-XS's shape, initialised by the first full fine-tuning step."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from lorasb.methods.lora_xs import LoraXS
from lorasb.methods.method import Context, Network

if TYPE_CHECKING:
    import torch

    from lorasb.methods.counts import Counts
    from lorasb.start.fill import Start

MOMENTUM = 0.9


class LoraSB(LoraXS):
    """W = W0 + s B R A, where s B R A starts as the best rank-r form of -eta sign(g).

    B = U_r, A = V_r^T, R = -eta S_r / s of the SVD of sign(g); eta is the learning rate of the
    first step that moves anything, or what the study's settings put in its place.

    Arguments: `scaling`, the s above; `start`: "step" (the paper's), "undivided" (R = -eta S_r, as
    the authors' code has it; the same where s = 1), and for ablations "zero" (the same bases,
    R = 0) or "folded" (the same product from bases that are not orthonormal, B = -eta U_r S_r / s,
    R = I); and `optimizer`: "adamw" or "sgd". The latter is gradient descent with momentum 0.9
    along theorem 3's g_R / s^2, the best step of W for orthonormal bases, in which s drops out
    (theorem 5) as long as gradients are not clipped and the start does not depend on s.
    """

    needs = frozenset({"gradient_factors"})
    keys: ClassVar = {
        **LoraXS.keys,
        "start": {"enum": ["step", "undivided", "zero", "folded"], "default": "step"},
        "optimizer": {"enum": ["adamw", "sgd"], "default": "adamw"},
    }

    def __init__(self, start: Start = "step", optimizer: str = "adamw", **arguments: Any) -> None:
        super().__init__(**arguments)
        self.start: Start = start
        self.descends = optimizer == "sgd"

    def fill(self, adapted: Network, context: Context) -> None:
        """B, R and A from the factors of the estimated gradient."""
        from lorasb.start.factors import load_factors
        from lorasb.start.fill import initialize_lora_sb

        factors = load_factors(context.inputs["gradient_factors"], context.rank)
        initialize_lora_sb(adapted, factors, context.start_learning_rate, start=self.start)

    def fill_from(
        self, adapted: Network, context: Context, steps: Mapping[str, torch.Tensor]
    ) -> None:
        """B, R and A from the SVD of other first steps than sign(g), in units of -eta."""
        from lorasb.start.fill import initialize_lora_sb

        factors = context.factorize(steps, context.rank)
        initialize_lora_sb(adapted, factors, context.start_learning_rate, start=self.start)

    def optimizer(
        self, model: Network, learning_rate: float, weight_decay: float
    ) -> torch.optim.Optimizer:
        """AdamW, or gradient descent with a rate of eta / s^2 for R."""
        if not self.descends:
            return super().optimizer(model, learning_rate, weight_decay)
        from torch.optim import SGD

        trained = {name: value for name, value in model.named_parameters() if value.requires_grad}
        inner = [value for name, value in trained.items() if ".lora_xs_R." in name]
        others = [value for name, value in trained.items() if ".lora_xs_R." not in name]
        scaling = self.arguments.get("scaling", 1.0)
        groups = [{"params": inner, "lr": learning_rate / scaling**2}, {"params": others}]
        return SGD(groups, lr=learning_rate, momentum=MOMENTUM, weight_decay=weight_decay)

    def count(self, shapes: Mapping[str, tuple[int, int]], rank: int, base_params: int) -> Counts:
        """B and A come from a gradient: nothing else can give them back, so they are stored."""
        from lorasb.methods import counts

        return counts.lora_sb(self.adapted(shapes), rank)


METHOD = LoraSB
