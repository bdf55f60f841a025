"""What of the paper's claims needs no training run: theorems, counts and settings, one row each."""

from __future__ import annotations

import math
from collections.abc import Iterator

from lorasb.claims.theorems import Check, checks
from lorasb.methods import counts
from lorasb.models.spec import ModelSpec
from lorasb.seeding import generator

# model, LoRA's rank and LoRA-SB's rank that the paper's ratio is of (docs/method.md)
RATIOS = [
    ("llama-3.2-3b", 32, 96),
    ("gemma-2-9b", 32, 64),
    ("mistral-7b", 32, 64),
    ("roberta-large", 8, 24),
]
FEWEST, MOST = 27, 90  # "27-90 times fewer"

# The authors' learning rate of the start: run, lr, warm-up ratio, training rows, samples of a batch
# of the estimate, epochs; then the samples of an optimiser step. Facts of their scripts.
AUTHORS_STARTS = [
    ("mathematics", 1e-4, 0.02, 50_000, 3, 1, 32),
    ("commonsense", 2e-3, 0.02, 170_420, 10, 2, 192),
]
WEIGHT = 0.01  # a weight of usual size in a language model


def exact_claims() -> Iterator[Check]:
    """All checks that need no run."""
    yield from checks(generator(0, "theorems"))
    yield from trainable_claims()
    yield from start_claims()


def trainable_claims() -> Iterator[Check]:
    """LoRA-SB's numbers against LoRA's, by the closed forms of `lorasb.methods.counts`."""
    for model, lora_rank, rank in RATIOS:
        spec = ModelSpec.load(model)
        shapes, _, head = counts.model_shapes(spec, spec.kinds[0], 2)
        lora, small = counts.lora(shapes, lora_rank), counts.lora_sb(shapes, rank)
        pair = f"{spec.label}, LoRA-SB r = {rank}, LoRA r = {lora_rank}"
        yield Check(
            "Abstract",
            f"{FEWEST} to {MOST} times fewer trainable parameters than LoRA.",
            f"LoRA's trained numbers over LoRA-SB's, rounded, head left out: {pair}",
            round(lora.trainable / small.trainable),
            low=FEWEST,
        )
        if head:
            yield Check(
                "Abstract",
                f"{FEWEST} to {MOST} times fewer trainable parameters than LoRA.",
                f"the same with the new task head, which is trained as well: {pair}",
                (lora.trainable + head) / (small.trainable + head),
                low=FEWEST,
            )
        yield Check(
            "Not claimed",
            "There is less to store than for LoRA.",
            f"LoRA-SB's stored numbers over LoRA's: {pair}",
            small.stored / lora.stored,
            high=1.0,
        )


def start_claims() -> Iterator[Check]:
    """The size of LoRA-SB's start under the authors' settings."""
    for run, rate, warmup, rows, batch, epochs, per_step in AUTHORS_STARTS:
        start = rate / (warmup * math.ceil(rows / batch) * epochs)
        first = rate / math.ceil(warmup * math.ceil(rows / per_step) * epochs)
        yield Check(
            "Initialisation",
            "The start is the first step of full fine-tuning, size included (authors' code).",
            f"{run}: learning rate of the start ({start:.1e}) over that of the first optimiser "
            f"step ({first:.1e}); within a factor of 2",
            start / first,
            low=0.5,
            high=2.0,
        )
        yield Check(
            "Initialisation",
            "The start can be seen in weights merged in bfloat16 (authors' code).",
            f"{run}: learning rate of the start over half of bfloat16's spacing at a weight of "
            f"{WEIGHT}",
            start / (bfloat16_spacing(WEIGHT) / 2),
            low=1.0,
        )


def bfloat16_spacing(value: float) -> float:
    """Distance between neighbouring numbers of bfloat16, which has 8 significant bits."""
    return 2.0 ** (math.floor(math.log2(value)) - 7)
