"""RunLoRA: LoRA's numbers, by the products that take the fewest operations."""

from __future__ import annotations

from itertools import product

import pytest
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from lorasb.errors import UserError
from lorasb.methods.registry import make_method
from lorasb.methods.runlora_layer import (
    ChoosingLinear,
    LowRankProduct,
    backward_operations,
    forward_operations,
    merges,
)
from tests.contract.test_methods import attached, inputs, logits, step
from tests.unit.training import test_rates as bert

SHAPE = b, m, n, r = 7, 5, 6, 2
CHOICES = list(product([False, True], repeat=2))


def drawn(dtype: torch.dtype = torch.float64) -> list[Tensor]:
    random = torch.Generator().manual_seed(0)
    shapes = {"x": (b, n), "W": (m, n), "A": (r, n), "B": (m, r)}
    return [
        torch.randn(shape, generator=random, dtype=torch.float64)
        .to(dtype)
        .requires_grad_(name != "W")
        for name, shape in shapes.items()
    ]


@pytest.mark.parametrize("merged", CHOICES)
def test_every_order_has_the_output_and_the_gradients_of_lora(merged):
    x, W, A, B = drawn()
    random = torch.Generator().manual_seed(1)
    g = torch.randn(b, m, generator=random, dtype=torch.float64)
    plain = x @ W.T + 0.7 * (x @ A.T) @ B.T
    expected = torch.autograd.grad(plain, [x, A, B], g)
    y = LowRankProduct.apply(x, W, A, B, 0.7, merged)
    found = torch.autograd.grad(y, [x, A, B], g)
    for one, other in zip((y, *found), (plain, *expected), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-10)
    assert torch.autograd.gradcheck(LowRankProduct.apply, (x, W, A, B, 0.7, merged))


@pytest.mark.parametrize("merged", CHOICES)
def test_operations_are_those_that_torch_counts(merged):
    x, W, A, B = drawn(torch.float32)
    with FlopCounterMode(display=False) as counter:
        y = LowRankProduct.apply(x, W, A, B, 0.7, merged)
    assert counter.get_total_flops() == forward_operations(*SHAPE, merged=merged[0])
    with FlopCounterMode(display=False) as counter:
        y.sum().backward()
    assert counter.get_total_flops() == backward_operations(*SHAPE, merged=merged[1])


def test_the_cheaper_order_is_taken_on_each_side_of_both_switches():
    for m, n, r in [(384, 384, 2), (384, 1536, 8), (1536, 384, 64)]:
        forward, backward = m * n / (m + n), m
        for tokens in (1, int(forward), int(forward) + 2, m, m + 1, 10_000):
            assert merges(tokens, m, n, r) == (tokens > forward, tokens > backward)


@pytest.mark.parametrize("merged", CHOICES)
def test_only_inputs_and_weights_are_kept_for_backward(merged):
    x, W, A, B = drawn(torch.float32)
    kept: list[Tensor] = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t) or t, lambda t: t):  # type: ignore[func-returns-value]
        LowRankProduct.apply(x, W, A, B, 0.7, merged)
    assert sorted(tuple(t.shape) for t in kept) == sorted([(b, n), (m, n), (r, n), (m, r)])


def test_a_model_has_loras_gradients_whatever_the_passes(tmp_path):
    found, plain = (attached(name, tmp_path)[1] for name in ("runlora", "lora"))
    assert any(isinstance(module, ChoosingLinear) for module in found.modules())
    for model in (found, plain):
        for name, value in model.named_parameters():
            if ".lora_B." in name:
                value.data.fill_(0.1)
    torch.testing.assert_close(logits(found), logits(plain), rtol=1e-4, atol=1e-5)
    whole = inputs() | {"labels": inputs()["input_ids"]}
    for model in (found, plain):
        model(**whole).loss.backward()
    passes = attached("runlora", tmp_path)[1]
    passes.load_state_dict(found.state_dict())
    for row in range(2):
        (passes(**{k: v[row : row + 1] for k, v in whole.items()}).loss / 2).backward()
    gradients = [
        {name: value.grad for name, value in model.named_parameters()}
        for model in (found, plain, passes)
    ]
    for name, value in gradients[1].items():
        if value is None:  # frozen, the weight that is merged too
            assert gradients[0][name] is None
            continue
        for other in (gradients[0], gradients[2]):
            torch.testing.assert_close(other[name], value, rtol=1e-4, atol=1e-5)


def test_a_run_has_the_losses_of_lora(tmp_path):
    expected = bert.run("lora", tmp_path / "lora", {}).log
    found = bert.run("runlora", tmp_path / "run", {}).log
    for one, other in zip(found, expected, strict=True):
        # float32 sums in another order
        assert one["loss"] == pytest.approx(other["loss"], rel=1e-4)


def test_the_output_without_the_adapter_is_the_bases(tmp_path):
    method, model, _ = attached("runlora", tmp_path)
    before = logits(model)
    step(method, model)
    with model.disable_adapter():
        torch.testing.assert_close(logits(model), before, rtol=0, atol=1e-5)


@pytest.mark.parametrize("option", [{"lora_dropout": 0.1}, {"use_dora": True}])
def test_what_fits_no_merged_product_is_refused(option):
    with pytest.raises(UserError, match="does not go with runlora"):
        make_method("runlora", {"options": {"r": "rank", **option}})
