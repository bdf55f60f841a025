"""What the loop is told, what it leaves, its clock, and the note of a failure."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from lorasb.files import write_json

MARKER = "complete.json"  # written last into a checkpoint: without it the checkpoint is not used


@dataclass(frozen=True)
class Plan:
    """Everything the loop is told; `order` has the row numbers of all batches in a row."""

    settings: dict[str, Any]
    steps: int
    learning_rate: float
    seed: int
    order: list[int]
    # all that is trained is kept after each of these steps; 0 is the start
    snapshot_steps: list[int]
    checkpoints: Path
    # modules of the model -> a learning rate of their own
    rates: Mapping[str, float] = field(default_factory=dict)


@dataclass
class Outcome:
    """What training leaves besides the model."""

    # one row a step: step, loss, learning_rate, grad_norm
    log: list[dict[str, float]] = field(default_factory=list)
    # "{step}/{parameter}" -> value
    snapshots: dict[str, torch.Tensor] = field(default_factory=dict)
    seconds: float = 0.0


class Clock:
    """Seconds of training, those of killed processes up to their last checkpoint included."""

    def __init__(self) -> None:
        self.start()

    def start(self, seconds_before: float = 0.0) -> None:
        """Run from now on, with so many seconds already there."""
        self._started = time.perf_counter() - seconds_before

    def seconds(self) -> float:
        """What has passed, without the pauses."""
        return time.perf_counter() - self._started

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Leave out what is done in this block."""
        begun = time.perf_counter()
        yield
        self._started += time.perf_counter() - begun


@contextmanager
def failure_noted(path: Path) -> Iterator[None]:
    """Write why the block failed to `path`; a block that ends well removes what stood there."""
    try:
        yield
    except Exception as error:
        with suppress(OSError):  # on a full disk, what failed first is what matters
            write_json(path, {"reason": f"{error or type(error).__name__}"})
        raise
    path.unlink(missing_ok=True)
