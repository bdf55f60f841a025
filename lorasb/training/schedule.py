"""The schedule of a run: steps, warm-up, epochs, the rate of its start, what is kept when."""

from __future__ import annotations

import math
import warnings
from typing import TYPE_CHECKING

import torch
from torch import nn
from transformers import get_scheduler

from lorasb.errors import UserError

if TYPE_CHECKING:  # `first_learning_rate` is for scripts too, which have no package of the suite
    from lorasb.config.read import Data


def total_steps(settings: Data, rows: int) -> int:
    """Optimiser steps of a training run on `rows` training rows."""
    training = settings["training"]
    if training["steps"] is not None:
        return int(training["steps"])
    per_step = training["batch_size"] * training["gradient_accumulation"]
    return max(1, math.ceil(rows * training["epochs"] / per_step))


def warmup_steps(training: Data, steps: int) -> int:
    """Steps of warm-up, rounded up."""
    return math.ceil(training["warmup_ratio"] * steps)


def epoch_steps(settings: Data, rows: int) -> list[int]:
    """The optimiser steps that end an epoch of `rows` training rows; the last one always does."""
    training, last = settings["training"], total_steps(settings, rows)
    whole = math.ceil(rows / (training["batch_size"] * training["gradient_accumulation"]))
    return sorted({*range(whole, last + 1, whole), last})


def snapshot_steps(points: int, last: int) -> list[int]:
    """At most `points` (0, or 3 and more) steps: 0, which is the start, and log-spaced 1 to `last`.

    None if `points` is 0.
    """
    if points == 0:
        return []
    ratio = last ** (1 / (points - 2))
    return sorted({0, *(round(ratio**i) for i in range(points - 1))})


def first_learning_rate(
    scheduler_name: str, learning_rate: float, warmup_steps: int, total_steps: int
) -> float:
    """Learning rate of the first optimiser step that has one above 0.

    The warm-ups of `transformers.get_scheduler` start at exactly 0, so that is often the second.

    Raises
    ------
    UserError
        If there is no such scheduler, or no step has a rate above 0.
    """
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=learning_rate)
    try:
        scheduler = get_scheduler(scheduler_name, optimizer, warmup_steps, total_steps)
    except ValueError as error:
        raise UserError(f"scheduler '{scheduler_name}': {error}") from error
    except TypeError as error:
        raise UserError(
            f"scheduler '{scheduler_name}': it needs more than the number of steps, which nothing "
            "here gives it; use constant_with_warmup, linear or cosine"
        ) from error
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*lr_scheduler.step", UserWarning)  # nothing is trained
        for _ in range(total_steps):
            rate = float(scheduler.get_last_lr()[0])
            if rate > 0:
                return rate
            scheduler.step()
    raise UserError(
        f"scheduler '{scheduler_name}': none of the {total_steps} steps has a learning rate above 0"
    )


def start_learning_rate(settings: Data, rate: float, rows: int) -> float:
    """eta of a start that is a first step, for `rows` training rows.

    By the setting `start.learning_rate`: that of the first optimiser step above 0, or as the
    authors' code of arXiv 2411.19557 has it, rate / (warm-up ratio * batches * epochs), where
    batches are those in which the gradient's loader would pass through all rows.
    """
    training = settings["training"]
    steps = total_steps(settings, rows)
    if settings["start"]["learning_rate"] == "first-step":
        warmup = warmup_steps(training, steps)
        return first_learning_rate(training["scheduler"], rate, warmup, steps)
    epochs = training["epochs"]
    if epochs is None:
        epochs = steps * training["batch_size"] * training["gradient_accumulation"] / rows
    batches = math.ceil(rows / settings["gradient"]["batch_size"])
    return float(rate / (training["warmup_ratio"] * batches * epochs))
