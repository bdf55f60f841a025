"""LN tuning (arXiv 2312.11420): the model's norms are trained, and no adapted weight changes."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from lorasb.errors import UserError
from lorasb.methods.method import Context, Network
from lorasb.methods.peft.method import PeftMethod

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from lorasb.methods.counts import Counts


class LNTuning(PeftMethod):
    """PEFT's `LNTuningConfig` on all norms but those of the task head."""

    keys: ClassVar = {}

    def __init__(self) -> None:
        super().__init__(config="LNTuningConfig")

    def hold(self, model: PreTrainedModel, head: Sequence[str]) -> None:
        """The task head, and norms, whose outputs stay in the model's dtype."""
        from lorasb.models.layers import norm_layers
        from lorasb.models.precision import hold_in_float32

        super().hold(model, head)
        hold_in_float32(model, norm_layers(model, head), narrow=True)

    def wrap(self, model: PreTrainedModel, context: Context) -> Network:
        """The model with a trained copy of each norm."""
        from lorasb.models.layers import norm_layers

        norms = list(norm_layers(model, context.task_head))
        if not norms:
            raise UserError(
                f"{type(model).__name__} has no norms with weights that could be trained"
            )
        with _no_warning():
            return super().wrap(model, replace(context, target_modules=norms))

    def load(self, model: PreTrainedModel, folder: Path) -> Network:
        """Read the norms back."""
        with _no_warning():
            return super().load(model, folder)

    def count(self, shapes: Mapping[str, tuple[int, int]], rank: int, base_params: int) -> Counts:
        """The numbers of all norms."""
        from lorasb.methods import counts

        return counts.norms(shapes)


@contextmanager
def _no_warning() -> Iterator[None]:
    """Without PEFT's warning of each kind of norm that has no inputs and outputs."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Unsupported layer type")
        yield


METHOD = LNTuning
