"""DoRA as PEFT has it, but finite where a row of the weight is zero.

DoRA (arXiv 2402.09353) divides row i of V = W0 + s B A by its norm c_i and multiplies it by the
magnitude q_i, which starts at the norm of W0's row. PEFT 0.21.2 makes 0 / 0 of a zero row, and
published weights have some (https://github.com/huggingface/peft/issues/2049). With c_i = 1 there
such a row stays what it is, zero: q_i = 0 lets no gradient through, neither to B nor to q_i.
"""

from __future__ import annotations

from typing import Any

from peft.tuners.lora.dora import DoraLinearLayer
from torch import Tensor, nn


class SafeDoraLinearLayer(DoraLinearLayer):  # type: ignore[misc]
    """PEFT's layer with 1 in place of a norm of 0."""

    def get_weight_norm(self, *args: Any, **kwargs: Any) -> Tensor:
        """Norm of each row of V, (out,)."""
        norm: Tensor = super().get_weight_norm(*args, **kwargs)
        return norm.masked_fill(norm == 0, 1.0)


def guard_zero_rows(model: nn.Module) -> None:
    """Make each DoRA layer of linear weights safe; magnitudes stay as they are."""
    for module in model.modules():
        if type(module) is DoraLinearLayer:
            # PEFT has no hook for the class of this layer
            module.__class__ = SafeDoraLinearLayer
