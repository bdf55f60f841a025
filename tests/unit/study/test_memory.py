"""Closed forms of memory against what autograd keeps, optimisers hold and models cache."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
import yaml
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    Gemma2Config,
    Gemma2ForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
)

from lorasb.study import memory
from lorasb.study.memory import Memory, Size
from lorasb.study.study import Study
from tests.unit.study.test_study import changed

ROWS, LENGTH = 4, 64
SIZES: dict[str, Any] = {
    "vocab_size": 300,
    "hidden_size": 128,
    "intermediate_size": 448,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
}


def llama() -> LlamaForCausalLM:
    return LlamaForCausalLM(LlamaConfig(**SIZES, num_key_value_heads=2))


def gemma() -> Gemma2ForCausalLM:
    """Four norms a layer, and attention matrices that are made."""
    return Gemma2ForCausalLM(Gemma2Config(**SIZES, num_key_value_heads=2, head_dim=32))


def bert() -> BertForSequenceClassification:
    return BertForSequenceClassification(BertConfig(**SIZES))


def kept_bytes(model: torch.nn.Module, autocast: bool) -> int:
    """Bytes that a forward pass keeps for backward, the model's own weights left out."""
    ids = torch.ones(ROWS, LENGTH, dtype=torch.long)
    causal = not hasattr(model, "classifier")
    labels = ids if causal else torch.zeros(ROWS, dtype=torch.long)
    own = {value.untyped_storage().data_ptr() for value in model.parameters()}
    shapes = {tuple(sorted(value.shape)) for value in model.parameters()}
    kept: dict[int, torch.UntypedStorage] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        # nor autocast's copies of them
        if storage.data_ptr() not in own and tuple(sorted(tensor.shape)) not in shapes:
            kept[storage.data_ptr()] = storage
        return tensor

    with (
        torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor),
        torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast),
    ):
        model(input_ids=ids, attention_mask=ids, labels=labels)
    return sum(storage.nbytes() for storage in kept.values())


def size(model: torch.nn.Module) -> Size:
    return Size(
        parameters=sum(value.numel() for value in model.parameters()),
        adapted=0,
        largest=0,
        width=128,
        inner=memory._inner(model),
        layers=3,
        cached=0,
        heads=4 if memory._makes_attention(model.config) else 0,
        classes=0 if hasattr(model, "classifier") else 300,
        bytes=next(model.parameters()).dtype.itemsize,
    )


@pytest.mark.parametrize("build", [llama, gemma, bert])
@pytest.mark.parametrize(
    ("dtype", "autocast", "adapter"),
    [
        (torch.float32, False, False),
        (torch.float32, True, False),
        (torch.bfloat16, False, True),
        (torch.bfloat16, True, True),
    ],
)
def test_activations_bound_what_autograd_keeps(build, dtype, autocast, adapter):
    model = build().to(dtype)
    bound = memory._activations(size(model), ROWS, LENGTH, 2 if autocast else dtype.itemsize)
    if adapter:
        model = peft.get_peft_model(model, peft.LoraConfig(r=2, target_modules="all-linear"))
    measured = kept_bytes(model.train(), autocast)
    assert measured <= bound
    # the count is that of the block that keeps most
    assert bound < 2 * measured


def test_cached_keys_and_values_are_those_of_a_model():
    model = llama()
    cache = model(input_ids=torch.ones(2, 5, dtype=torch.long), use_cache=True).past_key_values
    held = sum(layer.keys.numel() + layer.values.numel() for layer in cache.layers)
    assert held == 2 * 5 * 3 * (2 * 2 * 32)


STUDY = """
description: memory
models: [mistral-7b]
tasks: [world]
variants:
  base: {}
  full: {}
  full-kahan: {}
  lora: {ranks: [32]}
  lora-xs: {ranks: [32]}
  lora-sb: {ranks: [32, 96]}
  lora-sb-noise1: {ranks: [32]}
seeds: [0]
learning_rates:
  {full: "1e-5", full-kahan: "1e-5", lora: "1e-4", lora-xs: "1e-4", lora-sb: "1e-4",
   lora-sb-noise1: "1e-4"}
settings:
  training: {steps: 100, epochs: null, batch_size: 2, max_length: 64}
  probe: {points: 0}
"""
MISTRAL = 7_241_732_096
ADAPTED = 32 * (2 * 4096 * 4096 + 2 * 1024 * 4096 + 3 * 14336 * 4096)


def write(project: Path, **settings: Any) -> Study:
    """The study, with changes of its settings."""
    data = yaml.safe_load(STUDY)
    for section, changes in settings.items():
        data["settings"][section] = data["settings"].get(section, {}) | changes
    (project / "config/studies/memory.yaml").write_text(yaml.safe_dump(data))
    return Study("memory")


def of(form: Any, study: Study, variant: str, rank: int = 0) -> Memory:
    cells = study.cells
    return form(study, next(c for c in cells if (c.variant, c.rank) == (variant, rank)))


def test_the_largest_terms_of_mistral(project):
    study = write(project)
    names = ("mistral-7b", "world")
    estimate = memory.estimate_gradient(study, *names)
    # 16 rows of a pass; nothing of the gradients' sums
    assert 14.5e9 < estimate.device < 30e9
    assert estimate.host == pytest.approx(4 * ADAPTED, rel=0.05)
    full, kahan = (of(memory.train, study, name) for name in ("full", "full-kahan"))
    # float32 weight, gradient and two moments; five numbers of two bytes
    assert full.device - kahan.device == pytest.approx((16 - 10) * MISTRAL, rel=0.02)
    assert of(memory.predict, study, "full").device > 4 * MISTRAL
    assert of(memory.predict, study, "base").device < 3 * MISTRAL
    # bases that are frozen are there too, beside R with its gradient and moments
    bases = 64 * 32 * (2 * 8192 + 2 * 5120 + 3 * 18432 + 7)
    trained = 224 * (96**2 - 32**2)
    more = of(memory.train, study, "lora-sb", 96).device
    more -= of(memory.train, study, "lora-sb", 32).device
    assert more == 4 * (bases + 4 * trained)
    # it reads the gradient and makes a step of it
    assert of(memory.train, study, "lora-sb-noise1", 32).host > 8 * ADAPTED


@pytest.mark.parametrize(
    ("form", "variant", "changes", "grows"),
    [
        (memory.train, "lora", {"training": {"max_length": 128}}, "device"),
        (memory.train, "lora", {"training": {"batch_size": 4}}, "device"),
        (memory.predict, "lora", {"prediction": {"batch_size": 512}}, "device"),
        (memory.predict, "full", {"training": {"max_length": 128}}, "device"),
        (memory.train, "full", {"probe": {"points": 6}}, "host"),
        # autocast keeps copies of float32 weights
        (memory.train, "full", {"training": {"precision": "bfloat16", "max_length": 8}}, "device"),
    ],
)
def test_memory_follows_the_settings(project, form, variant, changes, grows):
    rank = 32 if variant == "lora" else 0
    before = of(form, write(project, training={"max_length": 8}), variant, rank)
    after = of(form, write(project, **changes), variant, rank)
    assert getattr(after, grows) > getattr(before, grows)


def test_given_answers_need_logits_at_all_their_tokens(project):
    def needed(length: int) -> float:
        settings = {"prediction": {"batch_size": 128}, "training": {"max_length": length}}
        return of(memory.predict, write(project, **settings), "base").device

    lengths = (16, 2048, 16_384)
    before = [needed(length) for length in lengths]
    changed(project, "config/tasks/world.yaml", "accuracy_strict]", "accuracy_strict, answer_loss]")
    more = [needed(length) - old for length, old in zip(lengths, before, strict=True)]
    # all rows; as many as stay below 2^26 numbers; one row
    numbers = [128 * 16 * 32_000, 2**26, 16_384 * 32_000]
    assert more == [12 * number for number in numbers]


def test_predicting_along_training_holds_both(project):
    last = of(memory.train_and_predict, write(project), "full")
    best = of(memory.train_and_predict, write(project, prediction={"epoch": "best"}), "full")
    assert last.device < best.device


def test_without_a_gpu_all_is_on_the_host():
    need = Memory(device=10e9, host=3e9, loaded=5e9)
    assert need.of_host(gpu=True) == memory.PROCESS + 5e9
    assert need.of_host(gpu=False) == memory.PROCESS + 13e9
    assert replace(need, host=7e9).of_host(gpu=True) == memory.PROCESS + 7e9
