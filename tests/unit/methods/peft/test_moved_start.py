"""Adapters that start inside the base weight: what is moved, what is stored, what is loaded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file

from lorasb.errors import UserError
from lorasb.files import read_json
from lorasb.methods.registry import make_variant
from tests.contract.test_methods import inputs, logits
from tests.unit.methods.peft.test_method import (
    RANK,
    context,
    layers,
    peft_method,
    trained,
    weights,
)
from tests.unit.tiny import GPT2_TARGETS, LLAMA_TARGETS, sequences, tiny_gpt2, tiny_llama, train

INITS = ["pissa", "pissa_niter_16", "olora"]


def attach(dtype: torch.dtype = torch.float32, init: str = "pissa_niter_16") -> tuple[Any, Any]:
    model = tiny_llama(0).to(dtype)
    base = weights(model, LLAMA_TARGETS)
    return peft_method(init_lora_weights=init).attach(model, context(LLAMA_TARGETS)), base


def parts(layer: Any) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """W, B, A of an adapted layer, float64."""
    factors = [getattr(layer, name)["default"].weight for name in ("lora_B", "lora_A")]
    return tuple(value.detach().double() for value in (layer.get_base_layer().weight, *factors))  # type: ignore[return-value]


def test_start_is_the_principal_part_of_the_weight():
    model, base = attach(init="pissa")
    for name, layer in layers(model).items():
        left, B, A = parts(layer)
        U, S, Vh = torch.linalg.svd(base[name].double(), full_matrices=False)
        # alpha / r = 1.5; float32 decompositions of weights of size 1
        close = {"rtol": 1e-5, "atol": 1e-5}
        torch.testing.assert_close(1.5 * B @ A, U[:, :RANK] * S[:RANK] @ Vh[:RANK], **close)
        torch.testing.assert_close(B.T @ B, torch.diag(S[:RANK] / 1.5), **close)
        torch.testing.assert_close(A @ A.T, torch.diag(S[:RANK] / 1.5), **close)
        rest = torch.linalg.svdvals(left)
        assert rest[0] == pytest.approx(S[RANK].item(), rel=1e-4)
        # its rank is smaller by that of what was taken out
        assert rest[-RANK:].max() < 1e-5
        assert rest[-RANK - 1] > 1e-4
        torch.testing.assert_close(B.T @ left, torch.zeros_like(B.T @ left), **close)
        torch.testing.assert_close(left @ A.T, torch.zeros_like(left @ A.T), **close)


def test_randomised_start_keeps_the_energy_of_the_principal_part():
    model, base = attach()
    for name, layer in layers(model).items():
        _, B, A = parts(layer)
        best = torch.linalg.svdvals(base[name].double())[:RANK].square().sum()
        # PEFT iterates on r directions and no more, which flat spectra of random weights punish
        assert 0.95 * best <= (1.5 * B @ A).square().sum() <= 1.00001 * best
        torch.testing.assert_close(B.T @ B, A @ A.T, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("init", INITS)
def test_model_starts_where_it_was(init):
    # float32 sums of weights of size 1
    torch.testing.assert_close(
        logits(attach(init=init)[0]), logits(tiny_llama(0)), rtol=1e-4, atol=1e-5
    )


def test_bfloat16_weight_misses_its_start_by_its_own_rounding_alone():
    """PEFT takes unrounded factors out and trains rounded ones; their product differs."""
    model, base = attach(torch.bfloat16)
    for name, layer in layers(model).items():
        left, B, A = parts(layer)
        error = left + 1.5 * B @ A - base[name].double()
        # 8 bits of the part that is left, plus what float32 rounds
        assert (error.abs() <= left.abs() * 2**-8 + 1e-6).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("init", INITS)
def test_loaded_model_computes_the_bits_of_the_trained_one(tmp_path, init, dtype):
    method = peft_method(init_lora_weights=init)
    model, _ = trained(method, dtype=dtype)
    method.save(model, tmp_path / "a")
    torch.manual_seed(11)  # a decomposition at loading would draw from here
    state = torch.random.get_rng_state()
    loaded = method.load(tiny_llama(0).to(dtype), tmp_path / "a")
    assert torch.equal(torch.random.get_rng_state(), state)
    assert not any(p.requires_grad for p in loaded.parameters())
    assert torch.equal(logits(loaded), logits(model))
    method.save(loaded, tmp_path / "b")
    for name in ("adapter_model.safetensors", "adapter_config.json"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_weight_that_is_stored_the_other_way(tmp_path):
    method = peft_method(init_lora_weights="pissa", fan_in_fan_out=True)
    model = method.attach(tiny_gpt2(0), context(GPT2_TARGETS))
    ids = sequences(1, [8])[0][None]

    def out(network: torch.nn.Module) -> torch.Tensor:
        with torch.no_grad():
            return network.eval()(input_ids=ids).logits

    # float32 sums of weights of size 1
    torch.testing.assert_close(out(model), out(tiny_gpt2(0)), rtol=1e-4, atol=1e-5)
    train(model, {"input_ids": ids, "labels": ids})
    method.save(model, tmp_path)
    assert torch.equal(out(method.load(tiny_gpt2(0), tmp_path)), out(model))


def test_stored_adapter_is_a_plain_lora_that_peft_loads_anywhere(tmp_path):
    method = peft_method(init_lora_weights="pissa_niter_16")
    model, base = trained(method)
    method.save(model, tmp_path)
    config = read_json(tmp_path / "adapter_config.json")
    assert (config["r"], config["lora_alpha"]) == (2 * RANK, 12)
    assert config["init_lora_weights"] is True
    plain = PeftModel.from_pretrained(tiny_llama(0), tmp_path)
    # W0 + s (B A - B0 A0) in float32, in another order
    torch.testing.assert_close(logits(plain), logits(model), rtol=1e-4, atol=1e-4)
    for name, update in method.updates(model, base).items():
        delta = layers(plain)[name].get_delta_weight("default")
        torch.testing.assert_close(update, delta, rtol=1e-4, atol=1e-5)


def test_half_of_what_is_stored_is_the_start(tmp_path: Path):
    method = make_variant("pissa").method
    model = method.attach(tiny_llama(0), context(LLAMA_TARGETS))
    method.save(model, tmp_path)
    for name, value in load_file(tmp_path / "adapter_model.safetensors").items():
        if "lora_A" in name:
            assert torch.equal(value[:RANK], value[RANK:])
        else:
            assert torch.equal(value[:, :RANK], -value[:, RANK:])


def test_first_step_goes_further_than_loras():
    """Both factors of PiSSA move from the first step; LoRA's A waits for B."""

    def second_loss(init: Any) -> float:
        model = tiny_llama(0)
        method = peft_method(init_lora_weights=init)
        adapted = method.attach(model, context(LLAMA_TARGETS))
        batch = inputs() | {"labels": inputs()["input_ids"]}
        train(adapted, batch, steps=1)
        with torch.no_grad():
            return adapted(**batch).loss.item()

    assert second_loss("pissa") < second_loss(True)


@pytest.mark.parametrize(
    "option",
    [
        {"use_rslora": True},
        {"use_dora": True},
        {"rank_pattern": {"q_proj": 2}},
        {"alpha_pattern": {"q_proj": 2}},
    ],
)
def test_options_that_rank_2r_cannot_express_are_refused(option):
    method = peft_method(init_lora_weights="pissa", **option)
    with pytest.raises(UserError, match=f"{next(iter(option))} does not go with .*pissa"):
        method.attach(tiny_llama(0), context(LLAMA_TARGETS))
