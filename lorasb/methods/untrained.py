"""No fine-tuning: the base model as it is, the floor that every method is compared with."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from lorasb.methods.full import Full

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from lorasb.methods.counts import Counts
    from lorasb.methods.method import Context, Network


class BaseModel(Full):
    """Trains nothing; a task head keeps its random start."""

    trains = False
    keys: ClassVar = {}

    def attach(self, model: PreTrainedModel, context: Context) -> Network:
        """Freeze every weight."""
        model.requires_grad_(False)
        return model

    def save(self, model: Network, folder: Path) -> None:
        """Write a word of it: the base model and the seed of its head give all else."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "README.md").write_text("The base model: nothing is trained.\n", encoding="utf-8")

    def load(self, model: PreTrainedModel, folder: Path) -> Network:
        """The base model."""
        return model

    def count(self, shapes: Mapping[str, tuple[int, int]], rank: int, base_params: int) -> Counts:
        """Nothing is trained or stored."""
        from lorasb.methods.counts import Counts

        return Counts(trainable=0, stored=0, whole_model=True)


METHOD = BaseModel
