"""LoRA-SB (arXiv 2411.19557): LoRA-XS's shape, initialised by the first full fine-tuning step."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from lorasb.methods.base import Context, Network
from lorasb.methods.lora_xs import LoraXS

if TYPE_CHECKING:
    from lorasb.counts import Counts
    from lorasb.initialize import Start


class LoraSB(LoraXS):
    """W = W0 + s B R A, where s B R A starts as the best rank-r form of -eta sign(g).

    B = U_r, A = V_r^T, R = -eta S_r / s of the SVD of sign(g); eta is the learning rate of the
    first step that moves anything.

    Arguments: `scaling`, the s above, and for ablations `start`: "step" (the paper's), "zero"
    (the same bases, R = 0) or "folded" (the same product from bases that are not orthonormal,
    B = -eta U_r S_r / s, R = I).
    """

    needs = frozenset({"gradient_factors"})

    def __init__(self, start: Start = "step", **arguments: Any) -> None:
        super().__init__(**arguments)
        self.start: Start = start

    def fill(self, adapted: Network, context: Context) -> None:
        """B, R and A from the factors of the estimated gradient."""
        from lorasb.factors import load_factors
        from lorasb.initialize import initialize_lora_sb

        factors = load_factors(context.inputs["gradient_factors"], context.rank)
        initialize_lora_sb(adapted, factors, context.first_learning_rate, start=self.start)

    def count(self, shapes: Mapping[str, tuple[int, int]], rank: int, base_params: int) -> Counts:
        """B and A come from a gradient: nothing else can give them back, so they are stored."""
        from lorasb import counts

        return counts.lora_sb(shapes, rank)


METHOD = LoraSB
