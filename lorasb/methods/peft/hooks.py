"""What tuners of PEFT need in training that PEFT leaves to its user."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from lorasb.methods.hooks import StepHook
from lorasb.methods.method import Network

ADAPTER = "default"
MEMORIES = ("ipt", "exp_avg_ipt", "exp_avg_unc")


def step_hooks(model: Network) -> list[StepHook]:
    """Those of a model with an adapter."""
    hooks: list[StepHook] = []
    if hasattr(model.base_model, "rankallocator"):
        hooks.append(Budget(model))
    if any(hasattr(module, "lora_velora_initialized") for module in model.modules()):
        hooks.append(KeptDirections(model))
    return hooks


class Budget(StepHook):
    """Takes ranks away after each step as AdaLoRA's schedule has it (arXiv 2303.10512).

    PEFT cuts what is masked from a saved adapter once its configuration has the pattern of ranks; a
    masked rank may come back, so the pattern is held here.
    """

    def __init__(self, model: Network) -> None:
        self.model = model
        self.pattern: dict[str, list[bool]] | None = None

    @property
    def budget(self) -> int:
        """Ranks that are left, of all weights together."""
        assert self.pattern is not None
        return sum(map(sum, self.pattern.values()))

    def on_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Score the ranks by the gradients of this step and mask the least."""
        config = self.model.peft_config[ADAPTER]
        config.rank_pattern = self.pattern
        self.model.base_model.update_and_allocate(state.global_step + 1)
        self.pattern, config.rank_pattern = config.rank_pattern, None

    def state(self) -> dict[str, Tensor]:
        """The scores so far, and the pattern."""
        allocator = self.model.base_model.rankallocator
        kept = {
            f"{memory}/{name}": value
            for memory in MEMORIES
            for name, value in getattr(allocator, memory).items()
        }
        masks = {f"mask/{name}": torch.tensor(m) for name, m in (self.pattern or {}).items()}
        return kept | masks

    def restore(self, state: dict[str, Tensor]) -> None:
        """Give both back."""
        allocator = self.model.base_model.rankallocator
        self.pattern = {
            key.removeprefix("mask/"): mask.tolist()
            for key, mask in state.items()
            if key.startswith("mask/")
        } or None
        for memory in MEMORIES:
            own = {k.partition("/")[2]: v for k, v in state.items() if k.startswith(f"{memory}/")}
            setattr(allocator, memory, own)


class KeptDirections(StepHook):
    """Tells VeLoRA's layers (arXiv 2405.17991) that a loaded direction is not to be drawn again.

    PEFT saves the direction, and not that it has been drawn.
    """

    def __init__(self, model: Network) -> None:
        self.model = model

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Mark those that are there."""
        for module in self.model.modules():
            for name, direction in getattr(module, "lora_velora_embed", {}).items():
                module.lora_velora_initialized[name] = bool(direction.any())


def freeze_counters(model: Network) -> None:
    """Hold the number of ranks of AdaLoRA's layers, by which they divide.

    PEFT 0.21.2 freezes it, and thaws it where it makes the adapter of a bfloat16 model float32.
    """
    for module in model.modules():
        for number in getattr(module, "ranknum", {}).values():
            number.requires_grad_(False)


def penalty(model: Network) -> Tensor | None:
    """What a tuner adds to the loss of a step, where PEFT does not: KaSA's terms and AdaLoRA's."""
    config = model.peft_config[ADAPTER]
    if getattr(config, "kasa_config", None) is not None:
        found: Tensor = model.base_model._get_kasa_loss(ADAPTER)
        return found
    if hasattr(config, "orth_reg_weight"):
        return config.orth_reg_weight * _from_orthonormal(model)
    return None


def _from_orthonormal(model: Network) -> Tensor:
    """Mean of |P^T P - I| and |Q Q^T - I| over AdaLoRA's weights.

    PEFT adds it in a forward pass that it takes for models with a task type alone.
    """
    layers = [module for module in model.modules() if hasattr(module, "ranknum")]
    factors = [f for layer in layers for f in (layer.lora_A[ADAPTER], layer.lora_B[ADAPTER].T)]
    away = [(f @ f.T - torch.eye(len(f), device=f.device)).norm() for f in factors]
    return torch.stack(away).mean()
