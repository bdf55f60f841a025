"""What holds for methods that PEFT brings: the change of the weights, and a model left alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from peft import LoraConfig, get_peft_model
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import nn

from lorasb.errors import UserError
from lorasb.files import read_json, write_json
from lorasb.methods.method import Context, Method
from lorasb.methods.peft.method import PeftMethod
from lorasb.methods.registry import make_variant
from lorasb.models.layers import matching_modules, oriented_weight
from tests.contract.test_methods import attached, logits, step
from tests.unit.tiny import GPT2_TARGETS, LLAMA_TARGETS, sequences, tiny_gpt2, tiny_llama, train

RANK = 4


def context(targets: list[str], rank: int = RANK, seed: int = 0) -> Context:
    return Context(rank, 1e-3, "converged", seed, targets, [], {})


def peft_method(counts: str = "lora", **options: Any) -> PeftMethod:
    shared = {"r": "rank", "lora_alpha": 6}
    return PeftMethod(config="LoraConfig", options=shared | options, counts=counts)


def weights(model: torch.nn.Module, targets: list[str]) -> dict[str, torch.Tensor]:
    return {
        name: oriented_weight(module).clone()
        for name, module in matching_modules(model, targets).items()
    }


def layers(model: Any) -> dict[str, BaseTunerLayer]:
    modules = model.get_base_model().named_modules()
    return {name: module for name, module in modules if isinstance(module, BaseTunerLayer)}


def trained(
    method: Method, seed: int = 0, dtype: torch.dtype = torch.float32
) -> tuple[Any, dict[str, torch.Tensor]]:
    """A tiny Llama after a few steps, and its adapted weights before it was wrapped."""
    model = tiny_llama(seed).to(dtype)
    base = weights(model, LLAMA_TARGETS)
    adapted = method.attach(model, context(LLAMA_TARGETS))
    step(method, adapted)
    return adapted, base


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("use_rslora", [False, True])
def test_update_of_lora_is_its_product_to_the_last_bits(dtype, use_rslora):
    """In bfloat16 too, where the merged weight itself would lose most of a small change."""
    method = peft_method(use_rslora=use_rslora)
    model, base = trained(method, dtype=dtype)
    scaling = 6 / RANK**0.5 if use_rslora else 6 / RANK
    for name, update in method.updates(model, base).items():
        A, B = (
            getattr(layers(model)[name], part)["default"].weight.double()
            for part in ("lora_A", "lora_B")
        )
        expected = (scaling * B @ A).float()
        # W0 + d - W0 in float64 is d up to 2^-52 |W0|, far below the last bit of a float32 d
        torch.testing.assert_close(update, expected, rtol=2e-7, atol=1e-12)


@pytest.mark.parametrize("variant", ["lora-xs", "lora-sb"])
def test_update_of_a_start_near_zero_keeps_its_digits(tmp_path, variant):
    """R starts at 1e-5: a sum in float32 would leave three digits of s B R A."""
    method, model, base = attached(variant, tmp_path)
    for name, update in method.updates(model, base).items():
        layer = layers(model)[name].double()
        B, R, A = (getattr(layer, f"lora_xs_{letter}")["default"] for letter in "BRA")
        torch.testing.assert_close(update, (B @ R @ A).float(), rtol=2e-7, atol=1e-12)


def test_update_of_a_weight_that_is_stored_the_other_way():
    model = tiny_gpt2(0)
    base = weights(model, GPT2_TARGETS)
    method = peft_method(fan_in_fan_out=True)
    adapted = method.attach(model, context(GPT2_TARGETS))
    ids = sequences(1, [8])[0][None]
    train(adapted, {"input_ids": ids, "labels": ids})
    other = tiny_gpt2(0)
    for name, update in method.updates(adapted, base).items():
        assert update.shape == base[name].shape
        other.get_submodule(name).weight.data += update.T
    with torch.no_grad():
        expected = adapted.eval()(input_ids=ids).logits
        # float32 sums in another order; logits of size 1
        torch.testing.assert_close(other(input_ids=ids).logits, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("variant", ["lora", "rslora", "pissa", "dora", "lora-pro"])
def test_measuring_updates_leaves_every_bit_of_the_model(variant):
    method = make_variant(variant).method
    model, base = trained(method, dtype=torch.bfloat16)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    method.updates(model, base)
    after = model.state_dict()
    assert after.keys() == before.keys()
    assert all(torch.equal(after[name], value) for name, value in before.items())
    assert {value.dtype for value in after.values()} == {v.dtype for v in before.values()}
    assert not any(layer.merged for layer in layers(model).values())


def test_rslora_is_lora_with_another_alpha():
    """s = alpha / sqrt(r), so alpha' = alpha sqrt(r) makes plain LoRA the same."""
    model, _ = trained(peft_method(use_rslora=True))
    other, _ = trained(peft_method(lora_alpha=6 * RANK**0.5))
    for name, layer in layers(model).items():
        assert layer.scaling == {"default": 6 / RANK**0.5}
        torch.testing.assert_close(
            layer.lora_B["default"].weight, layers(other)[name].lora_B["default"].weight
        )


def test_saved_rslora_keeps_its_scaling(tmp_path: Path):
    method = peft_method(use_rslora=True)
    model, _ = trained(method)
    method.save(model, tmp_path)
    loaded = method.load(tiny_llama(0), tmp_path)
    assert {layer.scaling["default"] for layer in layers(loaded).values()} == {6 / RANK**0.5}


def test_rslora_without_its_word_is_another_model(tmp_path: Path):
    """So that a saved configuration that lost it is seen."""
    method = peft_method(use_rslora=True)
    model, _ = trained(method)
    method.save(model, tmp_path)
    config = read_json(tmp_path / "adapter_config.json")
    assert config["use_rslora"] is True
    write_json(tmp_path / "adapter_config.json", config | {"use_rslora": False})
    found = logits(method.load(tiny_llama(0), tmp_path))
    assert not torch.allclose(found, logits(model), rtol=0, atol=1e-4)


def test_each_layer_of_rslora_has_its_own_rank_and_alpha():
    own = {"rank_pattern": {"v_proj": 2}, "alpha_pattern": {"v_proj": 5}}
    method = peft_method("built", use_rslora=True, **own)
    model = method.attach(tiny_llama(0), context(LLAMA_TARGETS))
    for name, layer in layers(model).items():
        expected = 5 / 2**0.5 if "v_proj" in name else 6 / RANK**0.5
        assert layer.scaling["default"] == pytest.approx(expected, rel=1e-12)


def test_rslora_of_rank_1_is_lora():
    found = []
    for use_rslora in (True, False):
        method = peft_method(use_rslora=use_rslora)
        model = method.attach(tiny_llama(0), context(LLAMA_TARGETS, rank=1))
        step(method, model)
        found.append(logits(model))
    assert torch.equal(*found)


@pytest.mark.parametrize("use_rslora", [True, False])
def test_the_size_of_an_update_does_not_depend_on_the_rank_under_rslora(use_rslora):
    """Of random unit rows of A and columns of B; with s = alpha / r it falls as 1 / sqrt(r)."""
    width = 512
    random = torch.Generator().manual_seed(0)
    x = torch.randn(1024, width, generator=random)
    sizes = []
    for rank in (1, 16, 256):
        config = LoraConfig(r=rank, lora_alpha=8, target_modules=["0"], use_rslora=use_rslora)
        layer = get_peft_model(nn.Sequential(nn.Linear(width, width)), config).base_model.model[0]
        A, B = (F.normalize(torch.randn(rank, width, generator=random)) for _ in range(2))
        layer.lora_A["default"].weight.data, layer.lora_B["default"].weight.data = A, B.T
        sizes.append((x @ layer.get_delta_weight("default").T).std().item())
    falls = [1.0, 1.0] if use_rslora else [1 / 4, 1 / 16]
    # standard deviations of 1024 inputs, and of directions that are not quite orthogonal
    assert sizes[1] / sizes[0] == pytest.approx(falls[0], rel=0.1)
    assert sizes[2] / sizes[0] == pytest.approx(falls[1], rel=0.1)


@pytest.mark.parametrize(
    "options",
    [
        {"exclude_modules": ["0.self_attn.q_proj"]},
        {"layers_to_transform": [1], "layers_pattern": "layers"},
        {"exclude_modules": r".*down_proj"},
    ],
)
def test_layers_that_the_options_leave_out_neither_count_nor_move(options):
    method = peft_method(**options)
    model, base = trained(method)
    shapes = {name: tuple(weight.shape) for name, weight in base.items()}
    numbers = sum(p.numel() for p in model.parameters() if p.requires_grad)
    assert method.count(shapes, RANK, 0).trainable == numbers
    updates = method.updates(model, base)
    assert updates.keys() == base.keys()
    assert {name for name, update in updates.items() if update.any()} == layers(model).keys()


@pytest.mark.parametrize(
    ("targets", "rank", "message"),
    [
        (["q_proj", "v_porj"], RANK, "v_porj"),
        (["q_proj", "norm"], RANK, "norm"),
        (LLAMA_TARGETS, 17, "rank 17 is larger than the weight of"),
        (LLAMA_TARGETS, 0, "a rank is at least 1"),
    ],
)
def test_what_does_not_fit_the_model_is_not_attached(targets, rank, message):
    """Where a study could not know: its model's shape is on the hub alone."""
    with pytest.raises(UserError, match=message):
        peft_method().attach(tiny_llama(0), context(targets, rank))


def test_ranks_that_differ_between_layers_are_counted_in_the_adapter_itself():
    method = peft_method("built", rank_pattern={"v_proj": 2})
    model, base = trained(method)
    shapes = {name: tuple(weight.shape) for name, weight in base.items()}
    numbers = sum(p.numel() for p in model.parameters() if p.requires_grad)
    assert method.count(shapes, RANK, 0).trainable == numbers
