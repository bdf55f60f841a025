"""XGBLoRA (arXiv 2410.19694): LoRA's ranks are trained one after the other, as boosters."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from lorasb.methods.method import Network
from lorasb.methods.peft.method import PeftMethod

if TYPE_CHECKING:
    from lorasb.methods.hooks import StepHook


class XGBLoRA(PeftMethod):
    """W = W0 + s sum of b_t a_t for t = 1 to r; of T steps, t trains b_t and a_t for T / r.

    Before its steps b_t is 0, after them both stay. A booster trains a random `share` of the
    weights, at least one; AdamW's moments start anew with each.

    The paper merges a finished booster into W. Here it stays a row of A and a column of B: the same
    function, without what bfloat16 would round, and a plain LoRA of rank r is stored either way.
    Memory and time are those of that rank, where the authors' are those of rank 1.

    Arguments: `options` of PEFT's `LoraConfig`, and `share`.
    """

    keys: ClassVar = {
        "options": {"type": "object"},
        "share": {"type": "number", "exclusiveMinimum": 0, "maximum": 1, "default": 1.0},
    }

    def __init__(self, options: dict[str, Any], share: float = 1.0) -> None:
        super().__init__(config="LoraConfig", options=options, counts="lora")
        self.share = share

    def hooks(self, model: Network) -> list[StepHook]:
        """Which booster is trained."""
        from lorasb.methods.xgblora_boosting import Boosting

        return [*super().hooks(model), Boosting(model, self.share)]


METHOD = XGBLoRA
