"""Training that dies after a step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from transformers import TrainerCallback

from lorasb.training import loop
from lorasb.training.run import Outcome


class KilledError(Exception):
    pass


class KillAt(TrainerCallback):
    def __init__(self, step: int) -> None:
        self.step = step

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step == self.step:
            raise KilledError


def kill_cells_at(patch: pytest.MonkeyPatch, step: int) -> None:
    """Let every cell die after this step, before what its own callbacks would do there."""
    train = loop.train

    def killed(*args: Any, callbacks: Sequence[TrainerCallback] = (), **kwargs: Any) -> Outcome:
        return train(*args, callbacks=[KillAt(step), *callbacks], **kwargs)

    patch.setattr(loop, "train", killed)
