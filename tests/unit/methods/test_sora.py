"""SoRA: its threshold, the lasso that it solves, and what is cut at the end."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from lorasb.methods.peft.moved_start import lora_layers
from lorasb.methods.registry import make_method, make_variant
from lorasb.methods.sora_gate import Gate, Proximal, shrunk
from tests.contract.test_methods import LLAMA_TARGETS, RANK, attached, context, logits, step
from tests.unit.tiny import tiny_llama

OPTIONS = {"r": "rank", "lora_alpha": "rank"}


def test_the_soft_threshold_is_the_proximal_operator():
    """argmin_u (u - v)^2 / 2 + tau |u| on a grid; odd, and no longer apart than before."""
    grid = torch.linspace(-3, 3, 6001).double()
    values, tau = torch.linspace(-2, 2, 41).double(), 0.5
    cost = (grid[None] - values[:, None]).square() / 2 + tau * grid.abs()[None]
    found = shrunk(values, tau, "soft")
    torch.testing.assert_close(found, grid[cost.argmin(dim=1)], rtol=0, atol=1e-3)  # the grid's
    assert torch.equal(found == 0, values.abs() <= tau)
    assert torch.equal(shrunk(-values, tau, "soft"), -found)
    assert (found.diff().abs() <= values.diff().abs() + 1e-12).all()


def test_the_official_threshold_zeroes_up_to_twice_tau():
    values = torch.tensor([-1.5, -0.9, -0.4, 0.0, 0.6, 0.99, 1.0, 2.0])
    expected = torch.tensor([-1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.5, 1.5])
    torch.testing.assert_close(shrunk(values, 0.5, "official"), expected)


def test_proximal_descent_solves_the_lasso_and_more_lambda_leaves_fewer():
    """min |g - c|^2 / 2 + lambda |g|_1, whose solution is the threshold of c."""
    target, left = torch.tensor([2.0, -0.7, 0.3, 0.05]), []
    for size in (0.0, 0.1, 0.5, 1.0):
        gate = torch.ones(4)
        for _ in range(400):
            gate = shrunk(gate - 0.1 * (gate - target), 0.1 * size, "soft")
        torch.testing.assert_close(gate, shrunk(target, size, "soft"), rtol=0, atol=1e-5)
        left.append(int(gate.count_nonzero()))
    assert left == [4, 3, 2, 1]


@pytest.mark.parametrize(("tau_scale", "tau"), [("lr", 0.02), ("fixed", 0.2)])
def test_the_step_shrinks_by_the_rate_or_by_itself(tmp_path, tau_scale, tau):
    method = make_method("sora", {"options": OPTIONS, "lambda": 0.2, "tau_scale": tau_scale})
    model = tiny_llama(0)
    adapted = method.attach(model, context(model, LLAMA_TARGETS, tmp_path))
    (hook,) = method.hooks(adapted)
    assert isinstance(hook, Proximal)
    before = [gate.detach().clone() for gate in hook.gates]
    optimizer: Any = SimpleNamespace(param_groups=[{"lr": 0.1}])
    state = SimpleNamespace(global_step=3, max_steps=10)
    hook.on_optimizer_step(None, state, None, optimizer=optimizer)
    for gate, old in zip(hook.gates, before, strict=True):
        torch.testing.assert_close(gate.detach(), shrunk(old, tau, "soft"))


def test_the_schedule_raises_the_threshold_in_equal_stages():
    gate = Gate(torch.ones(2, 3))
    hook = Proximal(gate, 0.4, "soft", 4, by_rate=False)
    found = []
    for number in range(10):
        gate.gate.data.fill_(1.0)
        state = SimpleNamespace(global_step=number, max_steps=10)
        hook.on_optimizer_step(None, state, None, optimizer=None)
        found.append(round(1 - gate.gate[0].item(), 4))
    assert found == [0.1, 0.1, 0.1, 0.2, 0.2, 0.3, 0.3, 0.3, 0.4, 0.4]


def test_with_gates_of_one_that_stay_it_is_lora(tmp_path):
    method, model, _ = attached("sora", tmp_path)
    lora, plain, _ = attached("lora", tmp_path)
    for name, layer in lora_layers(plain).items():
        own = lora_layers(model)[name].lora_A["default"].parametrizations.weight
        own.original.data.copy_(layer.lora_A["default"].weight)
        own[0].gate.data.fill_(1.0)
        own[0].gate.requires_grad_(False)
    step(method, model)
    step(lora, plain)
    assert torch.equal(logits(model), logits(plain))


@pytest.mark.parametrize("gone", [1, 3, RANK])
def test_ranks_whose_gates_are_zero_are_cut_and_change_nothing(tmp_path, gone):
    method, model, _ = attached("sora", tmp_path)
    step(method, model)
    layer = lora_layers(model)["model.layers.0.mlp.down_proj"]
    layer.lora_A["default"].parametrizations.weight[0].gate.data[:gone] = 0.0
    method.save(model, tmp_path / "adapter")
    loaded = method.load(tiny_llama(0), tmp_path / "adapter")
    # float32 sums of fewer terms
    torch.testing.assert_close(logits(loaded), logits(model), rtol=0, atol=1e-5)
    left = lora_layers(loaded)["model.layers.0.mlp.down_proj"]
    assert left.lora_A["default"].weight.shape == (max(RANK - gone, 1), 24)
    assert left.scaling["default"] == pytest.approx(layer.scaling["default"])
    # r' (m + n), also where m and n differ; one rank is kept where all gates are zero
    saved = load_file(tmp_path / "adapter/adapter_model.safetensors")
    found = sum(value.numel() for key, value in saved.items() if ".0.mlp.down_proj." in key)
    assert found == max(RANK - gone, 1) * (16 + 24)
    others = [one for name, one in lora_layers(loaded).items() if one is not left]
    assert {len(one.lora_A["default"].weight) for one in others} == {RANK}


def test_a_gate_that_is_zero_may_return(tmp_path):
    method, model, _ = attached("sora", tmp_path)
    step(method, model)
    layer = lora_layers(model)["model.layers.0.mlp.down_proj"]
    gate = layer.lora_A["default"].parametrizations.weight[0].gate
    gate.data[0] = 0.0
    step(method, model, times=1)
    assert gate[0] != 0


def test_the_variant_has_the_papers_operator():
    method = make_variant("sora").method
    assert (method.threshold, method.tau_scale) == ("soft", "lr")
