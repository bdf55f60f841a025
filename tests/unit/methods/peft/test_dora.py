"""DoRA: what a row of the weight becomes, and rows that are zero."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from lorasb.methods.peft.dora import SafeDoraLinearLayer
from lorasb.methods.registry import make_variant
from tests.contract.test_methods import inputs, logits, step
from tests.unit.methods.peft.test_method import context, layers, trained, weights
from tests.unit.tiny import LLAMA_TARGETS, tiny_llama

ROW = 3


def parts(layer: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """V = W0 + B A (s is 1) and the magnitudes q, float64."""
    A, B = (
        getattr(layer, name)["default"].weight.detach().double() for name in ("lora_A", "lora_B")
    )
    magnitude = layer.lora_magnitude_vector["default"].weight.detach().double()
    return layer.get_base_layer().weight.detach().double() + B @ A, magnitude


def with_zero_row() -> Any:
    model = tiny_llama(0)
    for name in ("q_proj", "v_proj"):
        getattr(model.model.layers[0].self_attn, name).weight.data[ROW] = 0.0
    return model


def test_rows_have_the_length_of_their_magnitude():
    method = make_variant("dora").method
    model, base = trained(method)
    for name, update in method.updates(model, base).items():
        V, q = parts(layers(model)[name])
        expected = q[:, None] * V / V.norm(dim=1, keepdim=True)
        merged = base[name].double() + update.double()
        # the update is float32, of weights of size 1
        torch.testing.assert_close(merged, expected, rtol=1e-6, atol=1e-7)
        torch.testing.assert_close(merged.norm(dim=1), q.abs(), rtol=1e-6, atol=1e-7)
        assert not torch.equal(q, base[name].double().norm(dim=1))


def test_gradients_take_the_norm_as_a_constant():
    """dL/dq_i = <g_i, V_i> / c_i and dL/dV = diag(q / c) g, so g_B = dL/dV A^T (s is 1)."""
    model, _ = trained(make_variant("dora").method)
    layer = layers(model)["model.layers.0.mlp.down_proj"].double()
    random = torch.Generator().manual_seed(0)
    x = torch.randn(9, 24, generator=random).double()
    y = torch.randn(9, 16, generator=random).double()
    model.zero_grad()
    (layer(x) * y).sum().backward()
    V, q = parts(layer)
    c, g = V.norm(dim=1), y.T @ x  # g is the gradient of the whole weight
    A, B = (getattr(layer, name)["default"].weight for name in ("lora_A", "lora_B"))
    close = {"rtol": 1e-10, "atol": 1e-10}
    magnitude = layer.lora_magnitude_vector["default"].weight
    torch.testing.assert_close(magnitude.grad, (g * V).sum(dim=1) / c, **close)
    inner = (q / c)[:, None] * g
    torch.testing.assert_close(B.grad, inner @ A.detach().T, **close)
    torch.testing.assert_close(A.grad, B.detach().T @ inner, **close)


def test_zero_row_stays_finite_and_zero(tmp_path):
    method, model = make_variant("dora").method, with_zero_row()
    base = weights(model, LLAMA_TARGETS)
    adapted = method.attach(model, context(LLAMA_TARGETS))
    # W' = q V / |V| = W0 at the start; float32
    torch.testing.assert_close(logits(adapted), logits(with_zero_row()), rtol=1e-4, atol=1e-5)
    step(method, adapted)
    assert torch.isfinite(logits(adapted)).all()
    updates = method.updates(adapted, base)
    assert all(torch.isfinite(update).all() for update in updates.values())
    assert not updates["model.layers.0.self_attn.q_proj"][ROW].any()
    method.save(adapted, tmp_path)
    assert torch.equal(logits(method.load(with_zero_row(), tmp_path)), logits(adapted))


@pytest.mark.parametrize("eps", [0.0, 1e-18])
def test_guard_changes_rows_of_norm_zero_alone(eps):
    layer = SafeDoraLinearLayer(fan_in_fan_out=False)
    weight = torch.tensor([[3.0, 4.0], [eps, 0.0]])
    norm = layer.get_weight_norm(weight, torch.zeros(2, 2), 1.0)
    assert norm.tolist() == pytest.approx([5.0, eps or 1.0], rel=1e-6, abs=0)


def test_every_layer_is_guarded_after_attaching_and_loading(tmp_path):
    method = make_variant("dora").method
    model, _ = trained(method)
    method.save(model, tmp_path)
    for adapted in (model, method.load(tiny_llama(0), tmp_path)):
        for layer in layers(adapted).values():
            assert type(layer.lora_magnitude_vector["default"]) is SafeDoraLinearLayer
    assert torch.isfinite(model(**inputs()).logits).all()


def test_the_length_of_the_direction_does_not_matter():
    """V -> c V: the output is that of q V / |V|."""
    model, _ = trained(make_variant("dora").method)
    before = logits(model)
    with torch.no_grad():
        for layer in layers(model).values():
            layer.get_base_layer().weight.mul_(3.0)
            layer.lora_B["default"].weight.mul_(3.0)
    # float32 sums of numbers three times as large; logits are of size 1
    torch.testing.assert_close(logits(model), before, rtol=0, atol=1e-4)


def test_merging_can_be_undone():
    model, base = trained(make_variant("dora").method)
    layer = layers(model)["model.layers.0.mlp.down_proj"]
    V, q = parts(layer)
    layer.merge()
    merged = layer.get_base_layer().weight.detach().double()
    # float32, of weights of size 1
    close = {"rtol": 1e-5, "atol": 1e-6}
    torch.testing.assert_close(merged, (q / V.norm(dim=1))[:, None] * V, **close)
    layer.unmerge()
    left = layer.get_base_layer().weight.detach()
    torch.testing.assert_close(left, base["model.layers.0.mlp.down_proj"], **close)


def test_with_norms_that_stay_it_is_lora(monkeypatch):
    """q and |V| both held at the lengths of the weight's rows."""
    monkeypatch.setattr(
        SafeDoraLinearLayer, "get_weight_norm", lambda self, weight, **_: weight.norm(dim=1)
    )
    model, _ = trained(make_variant("dora").method)
    plain = make_variant("lora").method.attach(tiny_llama(0), context(LLAMA_TARGETS))
    for name, layer in layers(model).items():
        lengths = layer.get_base_layer().weight.detach().norm(dim=1)
        layer.lora_magnitude_vector["default"].weight.data.copy_(lengths)
        for factor in ("lora_A", "lora_B"):
            value = getattr(layer, factor)["default"].weight.detach()
            getattr(layers(plain)[name], factor)["default"].weight.data.copy_(value)
    # float32 sums in another order
    torch.testing.assert_close(logits(model), logits(plain), rtol=0, atol=1e-5)


def test_dropout_leaves_the_output_as_it_is_on_average():
    method = make_variant("dora").method
    method.arguments["options"] |= {"lora_dropout": 0.5}
    model, _ = trained(method)
    layer = layers(model)["model.layers.0.self_attn.q_proj"]
    x = torch.randn(1, 16, generator=torch.Generator().manual_seed(0))
    draws = 4000
    torch.manual_seed(1)
    with torch.no_grad():
        expected = layer.eval()(x)
        found = layer.train()(x.expand(draws, -1))
    error = found.std(dim=0) / draws**0.5
    assert error.min() > 0
    # of 16 outputs, none further than four standard errors
    assert ((found.mean(dim=0) - expected[0]).abs() < 4 * error).all()
