"""From prepared rows to batches of tensors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch.nn.utils.rnn import pad_sequence
from transformers import PreTrainedTokenizerBase

from lorasb.models.label_logits import IGNORED
from lorasb.start.gradients import Batch
from lorasb.tasks.task import Row


@dataclass(frozen=True)
class Collator:
    """Pads rows of different lengths to one batch; columns that no model takes are left out.

    The batch has `input_ids` and `attention_mask` (rows, longest row), `token_type_ids` if the rows
    have them, and `labels` if the rows have them: (rows, longest row) int64 filled with -100 for
    generation, (rows,) int64 for classes, (rows,) float32 for numbers.
    """

    tokenizer: PreTrainedTokenizerBase
    # "left" for generation, so that all prompts of a batch end at the same place
    side: Literal["left", "right"] = "right"

    def __call__(self, rows: Sequence[Row]) -> Batch:
        """The batch of these rows, in their order."""
        lengths = [len(row["input_ids"]) for row in rows]
        batch = {
            "input_ids": self._pad([row["input_ids"] for row in rows], self.tokenizer.pad_token_id),
            "attention_mask": self._pad([[1] * length for length in lengths], 0),
        }
        if "token_type_ids" in rows[0]:
            types = [row["token_type_ids"] for row in rows]
            batch["token_type_ids"] = self._pad(types, self.tokenizer.pad_token_type_id)
        if "labels" in rows[0]:
            batch["labels"] = self._labels([row["labels"] for row in rows])
        return batch

    def _labels(self, labels: list[Any]) -> torch.Tensor:
        if isinstance(labels[0], list):
            return self._pad(labels, IGNORED)
        return torch.tensor(labels)

    def _pad(self, sequences: list[list[int]], value: int) -> torch.Tensor:
        tensors = [torch.tensor(sequence, dtype=torch.long) for sequence in sequences]
        return pad_sequence(tensors, batch_first=True, padding_value=value, padding_side=self.side)
