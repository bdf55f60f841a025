"""LoRA-SB in TRL's trainers, and in transformers' own, which they are made from."""

from __future__ import annotations

from typing import Any

from peft import PeftModel
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.utils import logging

from lorasb.errors import UserError
from lorasb.models.layers import unwrapped
from lorasb.start.fill import initialize_lora_sb
from lorasb.start.gradients import estimate_gradients
from lorasb.training.schedule import first_learning_rate
from lorasb.tuner import LoraXSLayer
from lorasb.tuner.without import without_adapters

logger = logging.get_logger(__name__)


class StartLoraSB(TrainerCallback):  # type: ignore[misc]
    """Starts an empty `lora_xs` adapter from the trainer's own data, model and learning rate.

    `SFTTrainer(..., peft_config=LoraXSConfig(init_weights="empty"), callbacks=[StartLoraSB(64)])`
    estimates the gradient from the first `num_samples` rows of the training data loader, fills the
    adapter and logs it, once, before the first step. An adapter that has been loaded or trained is
    left as it is, so a run that is resumed goes on.
    """

    def __init__(self, num_samples: int) -> None:
        self.num_samples = num_samples

    def on_train_begin(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        *,
        model: Any,
        train_dataloader: Any,
        **others: Any,
    ) -> None:
        """Start the active adapter.

        Raises
        ------
        UserError
            If the model has no active `lora_xs` adapter, or there are several processes.
        """
        model = unwrapped(model)
        if args.world_size > 1:
            raise UserError(
                f"StartLoraSB: {args.world_size} processes would each start at their own rows; "
                "estimate the gradient beforehand, and call lorasb.initialize_lora_sb"
            )
        layers = [module for module in model.modules() if isinstance(module, LoraXSLayer)]
        if not isinstance(model, PeftModel) or not layers:
            raise UserError("StartLoraSB: the trainer's model has no lora_xs adapter to start")
        name = model.active_adapter
        if any(layer.has_moved(name) for layer in layers if name in layer.r):
            return
        rate = first_learning_rate(
            str(args.lr_scheduler_type.value),
            args.learning_rate,
            args.get_warmup_steps(state.max_steps),
            state.max_steps,
        )
        with without_adapters(model) as base:
            gradients = estimate_gradients(
                base,
                train_dataloader,
                target_modules=model.peft_config[name],
                num_samples=self.num_samples,
            )
        initialize_lora_sb(model, gradients, rate, name)
        logger.info(
            f"LoRA-SB: adapter '{name}' starts at the gradient of {self.num_samples} samples, "
            f"with learning rate {rate:g}"
        )
