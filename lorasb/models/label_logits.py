"""Logits where there is a label, and nowhere else.

An answer of a few tokens after a prompt of a hundred has labels at those few: with a large
vocabulary most of the work of a causal language model's last layer is then for logits that no loss
reads.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any, Literal

import torch.nn.functional as F
from torch import Tensor, nn
from transformers.loss.loss_utils import ForCausalLMLoss

from lorasb.models.layers import unwrapped

Logits = Literal["all", "labels"]

IGNORED = -100  # label of tokens that have no loss
SHIFTED = "shift_labels"  # labels beside the logits that predict them


def at_labels(model: nn.Module, batch: Mapping[str, Any]) -> dict[str, Any]:
    """A batch by which a causal language model computes logits at label positions alone.

    The positions are those of any row, so that logits stay (rows, positions, vocabulary); the
    batch's `shift_labels` are the labels beside them, (rows, positions). The model's own loss is
    the same number to rounding. A batch without a label for each token, or of a model that computes
    all logits in any case or has a loss of its own, is as it was.
    """
    labels = batch.get("labels")
    if not isinstance(labels, Tensor) or labels.ndim != 2 or not _can_choose(model):
        return dict(batch)
    shifted = F.pad(labels, (0, 1), value=IGNORED)[:, 1:]
    positions = (shifted != IGNORED).any(dim=0).nonzero()[:, 0]
    return {**batch, "logits_to_keep": positions, SHIFTED: shifted[:, positions]}


def _can_choose(model: nn.Module) -> bool:
    """Whether a model takes `logits_to_keep` and hands `shift_labels` on to the usual loss."""
    found = unwrapped(model)
    if hasattr(found, "peft_config"):
        found = unwrapped(found.get_base_model())
    parameters = inspect.signature(found.forward).parameters
    takes = {"logits_to_keep", "kwargs"} <= parameters.keys()
    return takes and getattr(found, "loss_function", None) is ForCausalLMLoss
