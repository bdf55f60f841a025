"""What a method does around the steps of training, beside its optimiser."""

from __future__ import annotations

from torch import Tensor
from transformers import TrainerCallback


class StepHook(TrainerCallback):
    """A callback of the training loop that a method brings, with what a resumed run needs of it.

    Trainer calls `on_pre_optimizer_step` and `on_optimizer_step` before and after the optimiser
    moves; `state.global_step` is then the number of steps before this one.
    """

    def state(self) -> dict[str, Tensor]:
        """What a checkpoint must hold besides parameters, optimiser and random state."""
        return {}

    def restore(self, state: dict[str, Tensor]) -> None:
        """Go on from what `state` gave, on the device of the model."""
