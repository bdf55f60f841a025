"""Counts of a tuner without a closed form here: of the tuner itself, around weights without data.

The weights are on the meta device, so that those of a model of any size take no memory.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from lorasb.errors import UserError, one_line
from lorasb.kept import kept
from lorasb.methods.counts import Counts
from lorasb.methods.method import Context

if TYPE_CHECKING:
    from torch import nn

    from lorasb.methods.peft.method import PeftMethod

Shapes = Mapping[str, tuple[int, int]]


def count_built(method: PeftMethod, shapes: Shapes, rank: int) -> Counts:
    """What the tuner trains and saves for weights of these shapes (out, in).

    Raises
    ------
    UserError
        If the tuner does not take the shapes or the rank.
    """
    if method.has_rank and rank < 1:
        raise UserError(f"rank {rank}: a rank is at least 1")
    given = [method.arguments["config"], method.options, rank, list(shapes.items())]
    trainable, stored = kept("peft-built", given, lambda: _count(method, shapes, rank))
    return Counts(trainable=trainable, stored=stored)


def _count(method: PeftMethod, shapes: Shapes, rank: int) -> tuple[int, int]:
    import warnings

    import peft
    import torch

    # a schedule changes no count, and needs room for its phases
    context = Context(rank, 0.0, "converged", 0, list(shapes), [], {}, steps=1000)
    with torch.random.fork_rng(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # each cell says them again
        try:
            built = peft.get_peft_model(_skeleton(shapes), method.peft_config(context))
        except (ValueError, TypeError, RuntimeError, ZeroDivisionError) as error:
            raise UserError(f"rank {rank}: {one_line(error)}") from error
    trained = sum(
        value.numel()
        for name, value in built.named_parameters()
        # a note of AdaLoRA's, which becomes trainable on the meta device alone
        if value.requires_grad and ".ranknum." not in name
    )
    saved = peft.get_peft_model_state_dict(built).values()
    return trained, sum(value.numel() for value in saved)


def _skeleton(shapes: Shapes) -> nn.Module:
    """A module with linear layers of these names and shapes, on the meta device."""
    from torch import nn

    root = nn.Module()
    for name, (m, n) in shapes.items():
        *path, last = name.split(".")
        at = root
        for part in path:
            if not hasattr(at, part):
                at.add_module(part, nn.Module())
            at = getattr(at, part)
        at.add_module(last, nn.Linear(n, m, bias=False, device="meta"))
    return root
