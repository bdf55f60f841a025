"""Predictions after every epoch of training, of which the best are a cell's.

This is how the authors' code of arXiv 2411.19557 evaluates on GLUE, but for one thing: it takes the
best epoch of each metric on its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import torch
from transformers import TrainerCallback

from lorasb.errors import UserError
from lorasb.files import read_json, write_json
from lorasb.tasks.task import Row
from lorasb.training.checkpoints import note_kept

# predictions of a model, and what they cost: `seconds` and `peak_memory_bytes`
Predict = Callable[[torch.nn.Module], tuple[list[Row], dict[str, float]]]


class EpochPredictions(TrainerCallback):
    """Predicts after given steps and keeps each result as a file, `epoch-{number}.json`.

    A file that is there is not made again, so that a killed cell goes on where it was.
    """

    def __init__(
        self,
        steps: list[int],
        folder: Path,
        predict: Predict,
        off_the_clock: Callable[[], AbstractContextManager[None]],
    ) -> None:
        self.steps = steps
        self.folder = folder
        self.predict = predict
        self.off_the_clock = off_the_clock

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Predict, if an epoch ends here."""
        if state.global_step not in self.steps:
            return
        path = self._path(self.steps.index(state.global_step))
        if path.exists():
            return
        # generation takes other ways through a block than training
        with self.off_the_clock(), torch.compiler.set_stance("force_eager"):
            predictions, cost = self.predict(kwargs["model"])
            write_json(path, {"predictions": predictions, "cost": cost})
            note_kept(path)

    def best(self, score: Callable[[list[Row]], float]) -> tuple[list[Row], dict[str, float]]:
        """The predictions with the highest score, of equal ones the first, and what all cost.

        The cost has `seconds` of all epochs, the highest `peak_memory_bytes` and the chosen
        `epoch`, counted from 1.

        Raises
        ------
        UserError
            If an epoch's predictions are missing.
        """
        kept = list(self._kept())
        scores = [score(one["predictions"]) for one in kept]
        chosen = scores.index(max(scores))
        return kept[chosen]["predictions"], {
            "seconds": sum(one["cost"]["seconds"] for one in kept),
            "peak_memory_bytes": max(one["cost"]["peak_memory_bytes"] for one in kept),
            "epoch": chosen + 1,
        }

    def _kept(self) -> Iterator[dict[str, Any]]:
        for index in range(len(self.steps)):
            if not self._path(index).exists():
                raise UserError(
                    f"{self._path(index)}: no such file; delete {self.folder} and run again"
                )
            yield read_json(self._path(index))

    def _path(self, index: int) -> Path:
        return self.folder / f"epoch-{index + 1}.json"
