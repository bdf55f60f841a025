"""Weights that lie in a checkpoint's shards: the same numbers as from memory, a layer at a time."""

from __future__ import annotations

from pathlib import Path

import peft
import pytest
import torch
from accelerate import hooks
from accelerate.hooks import SequentialHook
from torch.multiprocessing.reductions import StorageWeakRef
from transformers import BertModel, PreTrainedModel

from lorasb import estimate_factors, estimate_gradients, initialize_lora_xs, weight_factors
from lorasb.errors import UserError
from lorasb.tuner import LoraXSConfig, LoraXSLayer
from tests.unit.start.test_estimate import LIMIT, MODELS, equal
from tests.unit.start.test_gradients import batches
from tests.unit.tiny import BERT_TARGETS, LLAMA_TARGETS, tiny_bert, tiny_llama

ON_DISK = {"": "disk"}
PARTLY = {  # the output layer is tied to the embedding
    "model.embed_tokens": "cpu",
    "lm_head": "cpu",
    "model.rotary_emb": "cpu",
    "model.norm": "disk",
    "model.layers": "disk",
}


def shards(model: PreTrainedModel, folder: Path, size: str = "3KB") -> Path:
    """A checkpoint in several files and an index, or in one file if `size` allows it."""
    model.save_pretrained(folder, max_shard_size=size)
    assert (folder / "model.safetensors.index.json").exists() == (size == "3KB")
    return folder


def offloaded(model: PreTrainedModel, folder: Path, place: dict[str, str]) -> PreTrainedModel:
    """The model of a checkpoint, of which nothing is read before it is used."""
    return (
        type(model)
        .from_pretrained(folder, device_map=place, offload_folder=folder / "offload")
        .eval()
    )


@pytest.mark.parametrize("size", ["3KB", "1MB"])
@pytest.mark.parametrize("kind", MODELS)
def test_factors_of_weights_are_those_of_the_tuner(kind, size, tmp_path):
    make, targets, _ = MODELS[kind]
    model = offloaded(make(0), shards(make(0), tmp_path, size), ON_DISK)
    found = weight_factors(model, rank=3, target_modules=targets, seed=5)
    assert all(weight.is_meta for weight in model.parameters())
    config = LoraXSConfig(r=3, target_modules=targets, seed=5)
    adapted = peft.get_peft_model(make(0), config)
    layers = {m.name: m for m in adapted.modules() if isinstance(m, LoraXSLayer)}
    assert found.keys() == layers.keys()
    for name, layer in layers.items():
        B, _, A = layer.matrices("default")
        assert torch.equal(B, found[name].U)
        assert torch.equal(A, found[name].S[:, None] * found[name].V.T)
    in_memory = weight_factors(make(0), rank=3, target_modules=config, seed=5)
    assert all(equal(found[name], in_memory[name]) for name in found)


def test_a_checkpoint_of_other_names_is_read_as_transformers_reads_it(tmp_path):
    """An encoder without its head, whose names lack a prefix."""
    model = tiny_bert(0)
    bare = shards(model.bert, tmp_path)
    found = weight_factors(offloaded(model, bare, ON_DISK), rank=2, target_modules=BERT_TARGETS)
    expected = weight_factors(model, rank=2, target_modules=BERT_TARGETS)
    assert isinstance(model.bert, BertModel)
    assert all(name.startswith("bert.") for name in found)
    assert found.keys() == expected.keys()
    assert all(equal(found[name], expected[name]) for name in found)


def test_an_adapter_starts_at_the_factors_of_a_finer_weight(tmp_path):
    """In two stages: the bases of the float32 checkpoint, on a base that is coarser."""
    folder = shards(tiny_llama(0), tmp_path)
    fine = offloaded(tiny_llama(0), folder, ON_DISK)
    factors = weight_factors(fine, rank=4, target_modules=LLAMA_TARGETS)
    config = LoraXSConfig(r=4, target_modules=LLAMA_TARGETS, init_weights="empty")
    model = peft.get_peft_model(tiny_llama(0).bfloat16(), config)
    initialize_lora_xs(model, factors, generator=torch.Generator().manual_seed(0))
    whole = peft.get_peft_model(tiny_llama(0), LoraXSConfig(r=4, target_modules=LLAMA_TARGETS))
    bases = {name: value for name, value in whole.named_buffers() if "lora_xs_" in name}
    assert len(bases) == 12
    for name, value in model.named_buffers():
        if name in bases:
            assert torch.equal(value, bases[name])


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("kind", MODELS)
def test_gradients_are_those_of_the_model_in_memory(kind, checkpointing, tmp_path):
    make, targets, labels = MODELS[kind]
    model = offloaded(make(0), shards(make(0), tmp_path), ON_DISK)
    model.requires_grad_(True)
    if checkpointing:
        model.gradient_checkpointing_enable()
    options = {"target_modules": targets, "num_samples": 5}
    expected = estimate_gradients(make(0), batches(2, labels), **options)
    for limit in (None, LIMIT):
        found = estimate_gradients(model, batches(2, labels), memory_limit_bytes=limit, **options)
        assert list(found) == list(expected)
        assert all(torch.equal(found[name], expected[name]) for name in expected)
    assert all(weight.is_meta for weight in model.parameters())
    assert all(weight.requires_grad for weight in model.parameters())
    assert not any(isinstance(vars(m).get("_hf_hook"), SequentialHook) for m in model.modules())


def test_factors_of_a_model_of_which_a_part_is_on_the_disk(tmp_path):
    model = offloaded(tiny_llama(0), shards(tiny_llama(0), tmp_path), PARTLY)
    places = {name: weight.device.type for name, weight in model.named_parameters()}
    assert set(places.values()) == {"cpu", "meta"}
    options = {"rank": 3, "target_modules": ["q_proj", "lm_head"], "num_samples": 5}
    found = estimate_factors(model, batches(2), memory_limit_bytes=LIMIT, **options)
    expected = estimate_factors(tiny_llama(0), batches(2), **options)
    assert all(equal(found[name], expected[name]) for name in expected)
    assert {name: weight.device.type for name, weight in model.named_parameters()} == places


def test_weights_leave_memory_when_they_have_been_used(tmp_path, monkeypatch):
    """With checkpointing: those of a layer, of what follows the layers, and of the pass."""
    model = offloaded(tiny_llama(0), shards(tiny_llama(0), tmp_path), ON_DISK)
    loaded: list[StorageWeakRef] = []
    most = 0
    put = hooks.set_module_tensor_to_device

    def counted(module: torch.nn.Module, name: str, device: object, **options: object) -> None:
        nonlocal most
        put(module, name, device, **options)
        if device != "meta":
            loaded.append(StorageWeakRef(getattr(module, name).untyped_storage()))
            most = max(most, sum(not weight.expired() for weight in loaded))

    monkeypatch.setattr(hooks, "set_module_tensor_to_device", counted)
    options = {"target_modules": ["q_proj"], "num_samples": 2, "memory_limit_bytes": 4 * 16 * 16}
    estimate_gradients(model, batches(2), **options)
    whole = most  # what backward needs, of nearly all layers
    model.gradient_checkpointing_enable()
    most = 0
    estimate_gradients(model, batches(2), **options)
    assert most < whole
    assert most <= 9 + 3 + 1
    assert all(weight.expired() for weight in loaded)


def test_a_weight_that_is_nowhere_is_refused():
    with torch.device("meta"):
        hollow = type(tiny_llama(0))(tiny_llama(0).config)
    for find in (
        lambda: weight_factors(hollow, rank=2, target_modules=["q_proj"]),
        lambda: estimate_gradients(hollow, batches(2), target_modules=["q_proj"], num_samples=2),
    ):
        with pytest.raises(UserError, match=r"0\.self_attn\.q_proj: .* meta device and nothing"):
            find()


def test_an_adapter_on_weights_on_the_disk_is_refused_a_start(tmp_path):
    model = offloaded(tiny_llama(0), shards(tiny_llama(0), tmp_path), ON_DISK)
    factors = weight_factors(model, rank=2, target_modules=["q_proj"])
    config = LoraXSConfig(r=2, target_modules=["q_proj"], init_weights="empty")
    with pytest.raises(UserError, match="its weight is not in memory, and neither is its adapter"):
        initialize_lora_xs(peft.get_peft_model(model, config), factors, generator=torch.Generator())
