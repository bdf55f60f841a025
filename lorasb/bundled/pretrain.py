"""Pretrains the small Llama that the embedded study adapts."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
import transformers
from tqdm import tqdm
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

from lorasb.bundled.corpus import KINDS, write_documents
from lorasb.bundled.llama import new_llama
from lorasb.bundled.tokenizer import build_tokenizer
from lorasb.files import locked, read_json, write_json
from lorasb.models.weights import write_sums
from lorasb.seeding import derive_seed, generator

STEPS = 9_000
ROWS, ROW_TOKENS = 32, 64
LEARNING_RATE = 4e-3
WARMUP_STEPS = 200
FINAL_FRACTION = 0.02
PROBE_DOCUMENTS = 300


def build_model(vocabulary_size: int, rng: torch.Generator) -> LlamaForCausalLM:
    """A Llama of 0.69 M parameters."""
    return new_llama(vocabulary_size, rng, width=128, layers=4, positions=128)


def learning_rate(step: int, steps: int) -> float:
    """Rate of the 0-based step: warm-up, constant until half-way, cosine to 2 % of the peak."""
    if step < WARMUP_STEPS:
        return LEARNING_RATE * (step + 1) / WARMUP_STEPS
    progress = max(0.0, 2 * step / steps - 1)
    cosine = (1 + math.cos(math.pi * progress)) / 2
    return LEARNING_RATE * (FINAL_FRACTION + (1 - FINAL_FRACTION) * cosine)


def batches(tokenizer: PreTrainedTokenizerFast, rng: np.random.Generator) -> Iterator[torch.Tensor]:
    """Token ids (`ROWS`, `ROW_TOKENS`) without end.

    Each row starts with a document, further ones follow, and the last is cut off.
    """
    rows: list[list[int]] = []
    row: list[int] = []
    while True:
        for ids in tokenizer(write_documents(ROWS, rng))["input_ids"]:
            row += [*ids, tokenizer.eos_token_id]
            if len(row) >= ROW_TOKENS:
                rows.append(row[:ROW_TOKENS])
                row = []
            if len(rows) == ROWS:
                yield torch.tensor(rows)
                rows = []


@torch.no_grad()
def probe(
    model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, rng: np.random.Generator
) -> dict[str, float]:
    """For each kind of document the share whose probed token is the model's first choice."""
    shares = {}
    for name, kind in KINDS.items():
        hits = 0
        for _ in range(PROBE_DOCUMENTS):
            ids = torch.tensor([tokenizer(kind.write(rng))["input_ids"]])
            logits = model(input_ids=ids[:, : kind.probed]).logits
            hits += int(logits[0, -1].argmax() == ids[0, kind.probed])
        shares[name] = hits / PROBE_DOCUMENTS
    return shares


def pretrain(output: Path, *, seed: int = 0, steps: int = STEPS, threads: int = 1) -> None:
    """Train the model from scratch and save it with its tokenizer and `pretraining.json`.

    The weights depend on `seed`, `steps`, the number of threads and the machine's arithmetic. What
    another process has made of them while this one waited for it is not made again.
    """
    facts = {"seed": seed, "steps": steps, "threads": threads}
    with locked(output / ".lock") as waited:
        if not (waited and _is_made(output, facts)):
            _pretrain(output, **facts)


def _is_made(output: Path, facts: dict[str, int]) -> bool:
    record, weights = output / "pretraining.json", output / "model.safetensors"
    return weights.exists() and record.exists() and facts.items() <= read_json(record).items()


def _pretrain(output: Path, *, seed: int, steps: int, threads: int) -> None:
    torch.set_num_threads(threads)
    tokenizer = build_tokenizer()
    model = build_model(len(tokenizer), generator(seed, "weights"))
    started = time.perf_counter()
    loss = _train(model, tokenizer, np.random.default_rng(derive_seed(seed, "corpus")), steps)
    seconds = time.perf_counter() - started
    model.eval()
    record = {
        "seed": seed,
        "steps": steps,
        "tokens": steps * ROWS * ROW_TOKENS,
        "threads": threads,
        "seconds": round(seconds, 1),
        "parameters": model.num_parameters(),
        "final_loss": round(loss, 4),
        "probes": probe(model, tokenizer, np.random.default_rng(derive_seed(seed, "probes"))),
        "versions": {"torch": torch.__version__, "transformers": transformers.__version__},
    }
    model.save_pretrained(output)
    tokenizer.save_pretrained(output)
    write_json(output / "pretraining.json", record)
    write_sums(output)


def _train(
    model: LlamaForCausalLM,
    tokenizer: PreTrainedTokenizerFast,
    rng: np.random.Generator,
    steps: int,
) -> float:
    """Train in place; the mean loss of the last 100 steps."""
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=LEARNING_RATE, betas=(0.9, 0.98), weight_decay=0.05, fused=True
    )
    losses: list[float] = []
    drawn = batches(tokenizer, rng)
    bar = tqdm(range(steps), desc="pretrain", unit="step", mininterval=1.0)
    for step in bar:
        optimizer.param_groups[0]["lr"] = learning_rate(step, steps)
        batch = next(drawn)
        loss = model(input_ids=batch, labels=batch).loss
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        losses.append(loss.item())
        bar.set_postfix(loss=f"{losses[-1]:.3f}", refresh=False)
    return sum(losses[-100:]) / len(losses[-100:])
