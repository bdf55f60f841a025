"""The one training loop: transformers' Trainer, on batches whose order is fixed beforehand.

It knows no method's name. A killed run continues from its last complete checkpoint and ends in the
same bytes as one that was never killed.
"""

from __future__ import annotations

import math
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch.utils.data import Dataset
from transformers import Trainer, TrainerCallback, TrainingArguments
from transformers.trainer_callback import PrinterCallback, ProgressCallback

from lorasb.errors import UserError
from lorasb.files import atomic, read_json, write_json
from lorasb.methods.base import Method
from lorasb.resolve import warmup_steps

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


def train(
    model: torch.nn.Module,
    method: Method,
    rows: list[dict[str, Any]],
    collate: Callable[[list[dict[str, Any]]], dict[str, torch.Tensor]],
    plan: Plan,
    *,
    callbacks: Sequence[TrainerCallback] = (),
    clock: Clock | None = None,
) -> Outcome:
    """Train what has `requires_grad`; continue from `plan.checkpoints` if there is one.

    `callbacks` are called besides the method's; what they do while `clock` is paused is not counted
    as training.

    Raises
    ------
    UserError
        If the loss or the gradient stops being finite; names the step.
    """
    if not any(parameter.requires_grad for parameter in model.parameters()):
        return Outcome()
    resume = last_checkpoint(plan.checkpoints)
    clock = clock or Clock()
    keeper = _Keeper(plan, clock, read_json(resume / MARKER)["seconds"] if resume else 0.0)
    trainer = _CellTrainer(
        method,
        model=model,
        args=_arguments(plan),
        train_dataset=_OrderedRows(rows, plan.order),
        data_collator=collate,
        callbacks=[
            keeper,
            _StopOnNan(plan.settings["precision"]),
            *method.callbacks(),
            *callbacks,
        ],
    )
    trainer.remove_callback(PrinterCallback)
    if trainer.pop_callback(ProgressCallback) is not None:
        trainer.add_callback(_Progress)
    trainer.train(resume_from_checkpoint=str(resume) if resume else None)
    log = [
        {key: entry[key] for key in ("step", "loss", "learning_rate", "grad_norm") if key in entry}
        for entry in trainer.state.log_history
        if "loss" in entry
    ]
    return Outcome(log, keeper.collected(), clock.seconds())


def snapshot_steps(points: int, last: int) -> list[int]:
    """At most `points` (0, or 3 and more) steps: 0, which is the start, and log-spaced 1 to `last`.

    None if `points` is 0.
    """
    if points == 0:
        return []
    ratio = last ** (1 / (points - 2))
    return sorted({0, *(round(ratio**i) for i in range(points - 1))})


def last_checkpoint(folder: Path) -> Path | None:
    """The newest complete checkpoint; one that a kill cut short is removed."""
    complete = []
    for path in folder.glob("checkpoint-*"):
        if (path / MARKER).exists():
            complete.append(path)
        else:
            shutil.rmtree(path)
    return max(complete, key=lambda path: int(path.name.split("-")[1]), default=None)


def _arguments(plan: Plan) -> TrainingArguments:
    settings = plan.settings
    return TrainingArguments(
        output_dir=str(plan.checkpoints),
        max_steps=plan.steps,
        per_device_train_batch_size=settings["batch_size"],
        gradient_accumulation_steps=settings["gradient_accumulation"],
        learning_rate=plan.learning_rate,
        lr_scheduler_type=settings["scheduler"],
        warmup_steps=warmup_steps(settings, plan.steps),
        max_grad_norm=settings["max_grad_norm"],
        weight_decay=settings["weight_decay"],
        bf16=settings["precision"] == "bfloat16",
        fp16=settings["precision"] == "float16",
        use_cpu=not torch.cuda.is_available(),
        train_sampling_strategy="sequential",
        save_strategy="steps",
        save_steps=settings["checkpoint_steps"],
        save_total_limit=2,
        logging_steps=1,
        logging_nan_inf_filter=False,
        remove_unused_columns=False,
        dataloader_pin_memory=torch.cuda.is_available(),
        label_names=["labels"],
        report_to=[],
        seed=plan.seed % 2**32,
    )


class _CellTrainer(Trainer):
    """Trainer whose optimiser comes from the method."""

    def __init__(self, method: Method, **arguments: Any) -> None:
        self._method = method
        super().__init__(**arguments)

    def create_optimizer(self, model: torch.nn.Module | None = None) -> torch.optim.Optimizer:
        self.optimizer: torch.optim.Optimizer = self._method.optimizer(
            self.model, self.args.learning_rate, self.args.weight_decay
        )
        return self.optimizer


class _OrderedRows(Dataset[dict[str, Any]]):
    """The training rows in the order in which batches take them."""

    def __init__(self, rows: list[dict[str, Any]], order: list[int]) -> None:
        self.rows, self.order = rows, order

    def __len__(self) -> int:
        return len(self.order)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return self.rows[self.order[index]]


class _Keeper(TrainerCallback):
    """Keeps parameters at chosen steps, off the clock, and marks complete checkpoints."""

    def __init__(self, plan: Plan, clock: Clock, seconds_before: float) -> None:
        self.plan = plan
        self.clock = clock
        self.seconds_before = seconds_before

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.clock.start(self.seconds_before)
        self._keep(state.global_step, kwargs["model"])

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._keep(state.global_step, kwargs["model"])

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        checkpoint = Path(args.output_dir) / f"checkpoint-{state.global_step}"
        write_json(checkpoint / MARKER, {"seconds": self.clock.seconds()})

    def collected(self) -> dict[str, torch.Tensor]:
        """All snapshots, those of killed processes included."""
        kept: dict[str, torch.Tensor] = {}
        for step in self.plan.snapshot_steps:
            kept |= load_file(self._snapshot(step))
        return kept

    def _keep(self, step: int, model: torch.nn.Module) -> None:
        if step not in self.plan.snapshot_steps:
            return
        with self.clock.paused():
            kept = {
                f"{step}/{name}": parameter.detach().cpu().contiguous()
                for name, parameter in model.named_parameters()
                if parameter.requires_grad
            }
            with atomic(self._snapshot(step)) as partial:
                save_file(kept, partial)

    def _snapshot(self, step: int) -> Path:
        return self.plan.checkpoints / f"snapshot-{step}.safetensors"


class _StopOnNan(TrainerCallback):
    """Ends the run at the first loss or gradient that is not finite."""

    def __init__(self, precision: str) -> None:
        # the loss scaler of float16 skips steps whose gradient overflowed, which is no fault
        self.watched = ["loss"] if precision == "float16" else ["loss", "grad_norm"]

    def on_log(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        for name in self.watched:
            value = kwargs["logs"].get(name, 0.0)
            if not math.isfinite(value):
                what = "loss" if name == "loss" else "gradient norm"
                raise UserError(
                    f"training: {what} is {value} at step {state.global_step} "
                    f"with learning rate {args.learning_rate:g}; a lower one would be right"
                )


class _Progress(ProgressCallback):
    """Trainer's progress bar without a printed line for each step."""

    def on_log(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        pass
