"""Callbacks of the training loop: what is kept, when it stops, what is shown."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from transformers import TrainerCallback
from transformers.trainer_callback import ProgressCallback

from lorasb.errors import UserError
from lorasb.files import atomic
from lorasb.methods.hooks import StepHook
from lorasb.training.checkpoints import mark_complete, note_kept, save_hooks
from lorasb.training.run import Clock, Plan


class Keeper(TrainerCallback):
    """Keeps parameters at chosen steps, off the clock, and marks complete checkpoints."""

    def __init__(
        self,
        plan: Plan,
        clock: Clock,
        seconds_before: float,
        hooks: Sequence[StepHook] = (),
    ) -> None:
        self.plan = plan
        self.clock = clock
        self.seconds_before = seconds_before
        self.hooks = hooks

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Start the clock; keep the start."""
        self.clock.start(self.seconds_before)
        self._keep(state.global_step, kwargs["model"])

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Keep what is trained, if this is one of the steps."""
        self._keep(state.global_step, kwargs["model"])

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Mark the checkpoint as complete."""
        seconds = self.clock.seconds()
        with self.clock.paused():
            checkpoint = Path(args.output_dir) / f"checkpoint-{state.global_step}"
            save_hooks(checkpoint, self.hooks)
            mark_complete(checkpoint, seconds)

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
            note_kept(self._snapshot(step))

    def _snapshot(self, step: int) -> Path:
        return self.plan.checkpoints / f"snapshot-{step}.safetensors"


class StopOnNan(TrainerCallback):
    """Ends the run at the first loss or gradient that is not finite."""

    def __init__(self, precision: str) -> None:
        # the loss scaler of float16 skips steps whose gradient overflowed, which is no fault
        self.watched = ["loss"] if precision == "float16" else ["loss", "grad_norm"]

    def on_log(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Raise a UserError where a watched number is not finite."""
        for name in self.watched:
            value = kwargs["logs"].get(name, 0.0)
            if not math.isfinite(value):
                what = "loss" if name == "loss" else "gradient norm"
                raise UserError(
                    f"training: {what} is {value} at step {state.global_step} "
                    f"with learning rate {args.learning_rate:g}; a lower one would be right"
                )


class Progress(ProgressCallback):
    """Trainer's progress bar with the loss in it, and no printed line for each step."""

    def on_log(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Keep the loss for the next time that the bar is drawn."""
        if self.training_bar is not None and "loss" in kwargs["logs"]:
            self.training_bar.set_postfix(loss=f"{kwargs['logs']['loss']:.4g}", refresh=False)
