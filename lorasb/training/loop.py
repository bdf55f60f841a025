"""The one training loop: transformers' Trainer, on batches whose order is fixed beforehand.

It knows no method's name. A killed run continues from its last complete checkpoint and ends in the
same bytes as one that was never killed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Any

import torch
from safetensors import SafetensorError
from torch.utils.data import Dataset
from transformers import Trainer, TrainerCallback, TrainingArguments
from transformers.trainer_callback import PrinterCallback, ProgressCallback

from lorasb.errors import UserError, one_line
from lorasb.files import read_json
from lorasb.methods.method import Method
from lorasb.models.label_logits import at_labels
from lorasb.models.layers import head_parameters
from lorasb.training.callbacks import Keeper, Progress, StopOnNan
from lorasb.training.checkpoints import last_checkpoint, restore_hooks
from lorasb.training.compiled import compiled_blocks
from lorasb.training.rates import give_own_rate
from lorasb.training.run import MARKER, Clock, Outcome, Plan
from lorasb.training.schedule import warmup_steps


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

    What `callbacks` do while `clock` is paused is not counted as training.

    Raises
    ------
    UserError
        If the loss or the gradient stops being finite; names the step. If the model is to be
        compiled and cannot be.
    """
    if not any(parameter.requires_grad for parameter in model.parameters()):
        return Outcome()
    resume = last_checkpoint(plan.checkpoints)
    clock = clock or Clock()
    hooks = method.hooks(model)
    keeper = Keeper(plan, clock, read_json(resume / MARKER)["seconds"] if resume else 0.0, hooks)
    trainer = _CellTrainer(
        method,
        plan,
        model=model,
        args=_arguments(plan),
        train_dataset=_OrderedRows(rows, plan.order),
        data_collator=collate,
        callbacks=[
            *hooks,
            keeper,
            StopOnNan(plan.settings["precision"]),
            *callbacks,
        ],
    )
    trainer.remove_callback(PrinterCallback)
    if trainer.pop_callback(ProgressCallback) is not None:
        trainer.add_callback(Progress)
    if resume:
        restore_hooks(resume, hooks, next(model.parameters()).device)
    with compiled_blocks(model) if plan.settings["compile"] else nullcontext():
        trainer.train(resume_from_checkpoint=str(resume) if resume else None)
    log = [
        {key: entry[key] for key in ("step", "loss", "learning_rate", "grad_norm") if key in entry}
        for entry in trainer.state.log_history
        if "loss" in entry
    ]
    return Outcome(log, keeper.collected(), clock.seconds())


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
    """Trainer whose optimiser comes from the method, and whose loss is the mean over a step's rows.

    Modules named in the plan's `rates` have learning rates of their own.

    Trainer leaves that mean to the model. Causal language models take it over the step's tokens;
    heads with one label a row take it over the rows of one backward pass, and their losses would
    add up over the passes of a step.
    """

    def __init__(self, method: Method, plan: Plan, **arguments: Any) -> None:
        self._method, self._rates, self._logits = method, plan.rates, plan.settings["logits"]
        super().__init__(**arguments)

    def create_optimizer(self, model: torch.nn.Module | None = None) -> torch.optim.Optimizer:
        self.optimizer: torch.optim.Optimizer = self._method.optimizer(
            self.model, self.args.learning_rate, self.args.weight_decay
        )
        for module, rate in self._rates.items():
            give_own_rate(self.optimizer, head_parameters(self.model, [module]).values(), rate)
        return self.optimizer

    def floating_point_ops(self, inputs: dict[str, Any]) -> int:
        """None: nobody reads the count, for which all parameters are visited at each step."""
        return 0

    def _save_checkpoint(self, *arguments: Any) -> None:
        try:
            super()._save_checkpoint(*arguments)
        except (RuntimeError, SafetensorError) as error:
            # torch does not pass on what the system said
            raise UserError(
                f"{self.args.output_dir}: a checkpoint cannot be written "
                f"({one_line(error)}); make room, then give the same command again"
            ) from error

    def compute_loss(
        self,
        model: torch.nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: torch.Tensor | None = None,
    ) -> Any:
        labels = inputs["labels"]
        if self._logits == "labels":
            inputs = at_labels(model, inputs)
        found = super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        loss, *outputs = found if return_outputs else (found,)
        if num_items_in_batch is not None and labels.ndim == 1:
            loss = loss * (len(labels) / num_items_in_batch)
        penalty = self._method.penalty(self.model)
        if penalty is not None:  # the passes of a step add up
            loss = loss + penalty / self.args.gradient_accumulation_steps
        return (loss, *outputs) if return_outputs else loss


class _OrderedRows(Dataset[dict[str, Any]]):
    """The training rows in the order in which batches take them."""

    def __init__(self, rows: list[dict[str, Any]], order: list[int]) -> None:
        self.rows, self.order = rows, order

    def __len__(self) -> int:
        return len(self.order)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return self.rows[self.order[index]]
