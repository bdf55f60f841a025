"""Flat-LoRA: the size of its noise, when it is there, and that nothing else changes."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from lorasb.methods.flat_lora import FlatLora, strength
from lorasb.methods.flat_lora_noise import Noise, merged, noise
from lorasb.seeding import generator
from tests.contract.test_methods import LLAMA_TARGETS, context
from tests.unit.tiny import tiny_llama
from tests.unit.training import test_rates as bert

OPTIONS = {"r": "rank", "lora_alpha": "rank"}


def hooked(sigma: float, folder: Any, dtype: torch.dtype = torch.float32) -> Noise:
    model = tiny_llama(0).to(dtype)
    method = FlatLora(OPTIONS, sigma)
    (hook,) = method.hooks(method.attach(model, context(tiny_llama(0), LLAMA_TARGETS, folder)))
    return hook


def at(step: int, seed: int = 5) -> dict[str, Any]:
    """What the loop passes to a callback."""
    state = SimpleNamespace(global_step=step, max_steps=10)
    return {"args": SimpleNamespace(seed=seed), "state": state, "control": None}


def weights(hook: Noise) -> dict[str, torch.Tensor]:
    return {name: one.get_base_layer().weight.clone() for name, one in hook.layers.items()}


def test_the_noise_grows_along_a_cosine():
    assert [strength(0.2, step, 10) for step in (0, 5, 10)] == pytest.approx([0.0, 0.1, 0.2])


def test_each_row_has_noise_of_its_own_length():
    weight = torch.diag(torch.tensor([1.0, 2.0, 4.0])) @ torch.ones(3, 16)
    drawn = torch.stack([noise(weight, 0.1, generator(i, "test")) for i in range(2000)])
    expected = 0.1 * weight.norm(dim=1) / 4
    entries = drawn.permute(1, 0, 2).reshape(3, -1)
    # n = 32,000 draws a row; standard errors: 1 / sqrt(2 n) of a deviation, 1 / sqrt(n) of a mean
    torch.testing.assert_close(entries.std(dim=1), expected, rtol=3 / 64_000**0.5, atol=0)
    assert (entries.mean(dim=1).abs() < 3 * expected / 32_000**0.5).all()
    assert (torch.corrcoef(entries).triu(1).abs() < 3 / 32_000**0.5 * 1.5).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_weights_have_the_noise_in_a_step_and_their_bits_after_it(tmp_path, dtype):
    hook = hooked(0.5, tmp_path, dtype)
    before = weights(hook)
    hook.on_step_begin(**at(5))
    for name, noisy in weights(hook).items():
        random = generator(5, f"noise/5/{name}")
        # B is 0 at the start, so W' is W0
        expected = noise(before[name].float(), strength(0.5, 5, 10), random).to(dtype)
        assert torch.equal(noisy, before[name] + expected)
    hook.on_pre_optimizer_step(**at(5))
    assert all(torch.equal(value, before[name]) for name, value in weights(hook).items())


def test_noise_is_of_the_merged_weight_and_depends_on_seed_step_and_layer(tmp_path):
    hook = hooked(0.5, tmp_path)
    layer = hook.layers["model.layers.0.self_attn.q_proj"]
    layer.lora_B["default"].weight.data.fill_(1.0)
    whole = layer.get_base_layer().weight + layer.get_delta_weight("default")
    torch.testing.assert_close(merged(layer), whole.detach())
    found = []
    for step, seed in ((5, 5), (5, 5), (6, 5), (5, 6)):
        torch.manual_seed(step + 10 * seed)  # has no part in it
        before = weights(hook)
        hook.on_step_begin(**at(step, seed))
        found += [[noisy - before[name] for name, noisy in weights(hook).items()]]
        hook.on_pre_optimizer_step(**at(step, seed))
    first, again, later, other = found
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    for changed in (later, other):
        assert not any(torch.equal(a, b) for a, b in zip(first, changed, strict=True))
    assert not torch.equal(first[0], first[3])  # q of the two layers


@pytest.mark.parametrize("same", [True, False])
def test_without_noise_it_is_lora_bit_for_bit(tmp_path, monkeypatch, same):
    """Dropout and the order of rows too; with noise it is not."""
    plain = bert.run("lora", tmp_path / "lora", {})
    method = FlatLora(OPTIONS, 0.0 if same else 0.5)
    monkeypatch.setattr(bert, "small", lambda _: method)
    found = bert.run("flat-lora", tmp_path / "flat", {})
    equal = [torch.equal(found.snapshots[key], value) for key, value in plain.snapshots.items()]
    assert all(equal) == same


def test_a_step_of_two_passes_has_one_noise(tmp_path, monkeypatch):
    calls = []
    monkeypatch.setattr(Noise, "on_step_begin", lambda *_, **__: calls.append("add"))
    monkeypatch.setattr(Noise, "on_pre_optimizer_step", lambda *_, **__: calls.append("remove"))
    bert.run("flat-lora", tmp_path, {})
    assert bert.SETTINGS["gradient_accumulation"] == 2
    assert calls == ["add", "remove"] * bert.STEPS


def test_outputs_and_a_quadratic_loss_have_the_variance_of_the_noise():
    """With E x x^T = I, Var(eps x)_i = sigma^2 |W_i|^2; E L = L + sigma^2 |x|^2 |W|^2 / (2 n)."""
    random, sigma, number = torch.Generator().manual_seed(8), 0.3, 4000
    weight = torch.randn(3, 16, generator=random)
    drawn = torch.stack([noise(weight, sigma, generator(i, "test")) for i in range(number)])
    x = torch.randn(number, 16, generator=random)
    outputs = torch.einsum("kij,kj->ki", drawn, x)
    # a fourth moment of 3 (1 + 2 / 16) of the square: four standard errors
    error = 4 * (2.4 / number) ** 0.5
    torch.testing.assert_close(
        outputs.var(dim=0), sigma**2 * weight.square().sum(dim=1), rtol=error, atol=0
    )
    one, target = x[0], torch.randn(3, generator=random)
    plain = (weight @ one - target).square().sum() / 2
    losses = ((weight + drawn) @ one - target).square().sum(dim=1) / 2
    expected = plain + sigma**2 * one.square().sum() * weight.square().sum() / (2 * 16)
    assert losses.mean() == pytest.approx(
        expected.item(), abs=4 * float(losses.std()) / number**0.5
    )
    assert expected > plain + 4 * losses.std() / number**0.5  # so that noise is seen at all
