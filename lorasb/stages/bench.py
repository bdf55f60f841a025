"""Verb `bench`."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from copy import deepcopy
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from lorasb.errors import UserError

Action = Callable[[], None]
TARGETS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
VOCABULARY = 1000


def bench(
    what: str,
    /,
    *,
    rank: int = 32,
    hidden: int = 512,
    layers: int = 4,
    samples: int = 8,
    tokens: int = 128,
    rounds: int = 5,
    threads: int = 1,
) -> None:
    """Time what people wait for beside its floor and PEFT, and print a table.

    `step` is a training step with a frozen base as floor, `start` what comes before the first step
    with a forward and backward pass over the same samples as floor. All are measured in one
    process on a random Llama in float32, in interleaved rounds: the median of the CPU seconds
    (which other programs disturb least), and of the ratios to the floor's in the same round the
    median, the least and the largest.
    """
    if what not in KINDS:
        raise UserError(f"bench '{what}': unknown; known: {', '.join(KINDS)}")
    for name, value in (("rank", rank), ("samples", samples), ("rounds", rounds)):
        if value < 1:
            raise UserError(f"{name} {value}: at least 1 is needed")
    if rank > hidden:
        raise UserError(f"rank {rank}: at most the hidden size, {hidden}")
    ids = torch.randint(VOCABULARY, (samples, tokens), generator=torch.Generator().manual_seed(0))
    actions = KINDS[what](_llama(hidden, layers), {"input_ids": ids, "labels": ids}, rank)
    table = summary(timed(actions, rounds))
    sys.stdout.write(f"{table.to_string(float_format='%.3f')}\n")
    sys.stdout.write(f"{torch.__version__}, CPU threads: {threads}, rank {rank}\n")


def timed(actions: dict[str, Action], rounds: int) -> pd.DataFrame:
    """CPU seconds of each action (column) a round (row); the first round does not count."""
    seconds: list[dict[str, float]] = []
    for _ in range(rounds + 1):
        seconds.append({})
        for name, action in actions.items():
            began = time.process_time()
            action()
            seconds[-1][name] = time.process_time() - began
    return pd.DataFrame(seconds[1:])


def summary(seconds: pd.DataFrame) -> pd.DataFrame:
    """Median of the seconds; median, least and largest of the ratios to the first column."""
    ratios = seconds.div(seconds.iloc[:, 0], axis=0)
    columns = {"seconds": seconds.median(), "ratio": ratios.median()}
    return pd.DataFrame(columns | {"least": ratios.min(), "largest": ratios.max()})


def _step(model: Any, batch: dict[str, Tensor], rank: int) -> dict[str, Action]:
    """A forward and backward pass and AdamW's step; the floor trains the embedding's output."""
    import peft

    from lorasb.tuner import LoraXSConfig

    options: dict[str, Any] = {"r": rank, "target_modules": TARGETS}
    frozen = deepcopy(model).requires_grad_(False)
    frozen.enable_input_require_grads()
    ours = LoraXSConfig(**options)
    return {
        "frozen base": _trains(frozen, batch),
        "R between frozen factors": _trains(peft.get_peft_model(deepcopy(model), ours), batch),
        "PEFT's LoRA": _trains(
            peft.get_peft_model(deepcopy(model), peft.LoraConfig(**options)), batch
        ),
        "full fine-tuning": _trains(deepcopy(model), batch),
    }


def _trains(model: Any, batch: dict[str, Tensor]) -> Action:
    trained = [value for value in model.parameters() if value.requires_grad]
    optimizer = torch.optim.AdamW(trained) if trained else None

    def action() -> None:
        model(**batch).loss.backward()
        if optimizer:
            optimizer.step()
            optimizer.zero_grad()

    return action


def _start(model: Any, batch: dict[str, Tensor], rank: int) -> dict[str, Action]:
    """From a base model to an adapter that is ready for its first step."""
    import peft
    from peft.tuners.lora.loraga import preprocess_loraga

    from lorasb.start.estimate import estimate_factors
    from lorasb.start.fill import initialize_lora_sb
    from lorasb.tuner import LoraXSConfig

    plain, ours = deepcopy(model), deepcopy(model)
    options: dict[str, Any] = {"r": rank, "target_modules": TARGETS}

    def floor() -> None:
        plain(**batch).loss.backward()
        plain.zero_grad()

    def start() -> None:
        samples = len(batch["labels"])
        found = estimate_factors(
            ours, [batch], rank=rank, target_modules=TARGETS, num_samples=samples
        )
        config = LoraXSConfig(**options, init_weights="empty")
        adapted = peft.get_peft_model(ours, config)
        initialize_lora_sb(adapted, found, learning_rate=1e-3)
        adapted.unload()

    def start_lora_ga() -> None:
        ga = peft.LoraGAConfig()
        config = peft.LoraConfig(**options, init_lora_weights="lora_ga", lora_ga_config=ga)
        fresh = deepcopy(model)

        def estimate() -> None:
            fresh(**batch).loss.backward()

        preprocess_loraga(fresh, config, estimate)
        peft.get_peft_model(fresh, config)

    return {
        "a forward and backward pass": floor,
        "estimate, decompose, fill": start,
        "PEFT's LoRA-GA": start_lora_ga,
    }


def _llama(hidden: int, layers: int) -> Any:
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=hidden,
        intermediate_size=hidden * 11 // 4,
        num_hidden_layers=layers,
        num_attention_heads=max(1, hidden // 64),
        use_cache=False,
    )
    torch.manual_seed(0)
    return LlamaForCausalLM(config)


KINDS = {"step": _step, "start": _start}
