"""What is measured of a model: a start or a training step, each beside its floor and PEFT's."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from lorasb.bench.measure import MEGABYTE, Prepare

TARGETS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
VOCABULARY = 1000


@dataclass(frozen=True)
class Setup:
    """A random Llama, a batch for it, and the rank of what is attached to it."""

    rank: int
    hidden: int
    layers: int
    samples: int
    tokens: int
    dtype: str
    device: str

    def model(self) -> Any:
        """The model, always with the same weights."""
        from transformers import LlamaConfig, LlamaForCausalLM

        config = LlamaConfig(
            vocab_size=VOCABULARY,
            hidden_size=self.hidden,
            intermediate_size=self.hidden * 11 // 4,
            num_hidden_layers=self.layers,
            num_attention_heads=max(1, self.hidden // 64),
            use_cache=False,
        )
        torch.manual_seed(0)
        return LlamaForCausalLM(config).to(self.device, getattr(torch, self.dtype))

    def batch(self) -> dict[str, Tensor]:
        """Random tokens, each of which is a label too."""
        random = torch.Generator().manual_seed(0)
        ids = torch.randint(VOCABULARY, (self.samples, self.tokens), generator=random)
        return dict.fromkeys(("input_ids", "labels"), ids.to(self.device))

    @property
    def adapter(self) -> dict[str, Any]:
        """What all adapters' configurations say."""
        return {"r": self.rank, "target_modules": TARGETS}


def step(setup: Setup, name: str) -> Prepare:
    """A forward and backward pass and AdamW's step, of one of `MODELS`."""
    model, batch = MODELS[name](setup), setup.batch()
    trained = [value for value in model.parameters() if value.requires_grad]
    optimizer = torch.optim.AdamW(trained) if trained else None

    def action() -> None:
        model(**batch).loss.backward()
        if optimizer:
            optimizer.step()
            optimizer.zero_grad()

    return lambda: action


def kept_megabytes(setup: Setup, name: str) -> float:
    """What one of `MODELS` keeps for a backward pass besides its own weights."""
    model = MODELS[name](setup)
    kept: dict[int, Tensor] = {}

    def keep(value: Tensor) -> Tensor:
        kept[value.untyped_storage().data_ptr()] = value
        return value

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda value: value):
        model(**setup.batch())
    own = {value.untyped_storage().data_ptr() for value in model.state_dict().values()}
    found = (value.untyped_storage().nbytes() for place, value in kept.items() if place not in own)
    return sum(found) / MEGABYTE


def start(setup: Setup, name: str) -> Prepare:
    """From a base model to an adapter that is ready for its first step, by one of `STARTS`."""
    batch = setup.batch()
    return lambda: partial(STARTS[name], setup, setup.model(), batch)


def _frozen(setup: Setup) -> Any:
    """A base whose activations have gradients and whose weights have none."""
    model = setup.model().requires_grad_(False)
    model.enable_input_require_grads()
    return model


def _with_lora_xs(setup: Setup) -> Any:
    import peft

    from lorasb.tuner import LoraXSConfig

    return peft.get_peft_model(setup.model(), LoraXSConfig(**setup.adapter))


def _with_lora(setup: Setup) -> Any:
    import peft

    return peft.get_peft_model(setup.model(), peft.LoraConfig(**setup.adapter))


def _pass(setup: Setup, model: Any, batch: dict[str, Tensor]) -> None:
    model(**batch).loss.backward()


def _start_lora_sb(setup: Setup, model: Any, batch: dict[str, Tensor]) -> None:
    import peft

    from lorasb.start.estimate import estimate_factors
    from lorasb.start.fill import initialize_lora_sb
    from lorasb.tuner import LoraXSConfig

    found = estimate_factors(
        model, [batch], rank=setup.rank, target_modules=TARGETS, num_samples=setup.samples
    )
    config = LoraXSConfig(**setup.adapter, init_weights="empty")
    initialize_lora_sb(peft.get_peft_model(model, config), found, learning_rate=1e-3)


def _start_lora_ga(setup: Setup, model: Any, batch: dict[str, Tensor]) -> None:
    import peft
    from peft.tuners.lora.loraga import preprocess_loraga

    ga = peft.LoraGAConfig()
    config = peft.LoraConfig(**setup.adapter, init_lora_weights="lora_ga", lora_ga_config=ga)
    preprocess_loraga(model, config, lambda: _pass(setup, model, batch))
    peft.get_peft_model(model, config)


def _start_lora(setup: Setup, model: Any, batch: dict[str, Tensor]) -> None:
    import peft

    peft.get_peft_model(model, peft.LoraConfig(**setup.adapter))


# the first of each is the floor
MODELS: dict[str, Callable[[Setup], Any]] = {
    "frozen base": _frozen,
    "R between frozen factors": _with_lora_xs,
    "PEFT's LoRA": _with_lora,
    "full fine-tuning": Setup.model,
}
STARTS: dict[str, Callable[[Setup, Any, dict[str, Tensor]], None]] = {
    "a forward and backward pass": _pass,
    "estimate, decompose, fill": _start_lora_sb,
    "PEFT's LoRA-GA": _start_lora_ga,
    "PEFT's LoRA": _start_lora,
}
