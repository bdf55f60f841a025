"""LoRA-XS's numbers, by the products that take the fewest operations."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from lorasb.errors import UserError
from lorasb.methods.lora_xs_products import (
    ORDERS,
    ChoosingLinear,
    CoreProduct,
    backward_operations,
    cheapest,
    forward_operations,
)
from lorasb.methods.registry import make_method
from tests.contract.test_methods import attached, inputs, logits
from tests.unit.training import test_rates as bert

SHAPES = [(7, 5, 6, 2), (7, 6, 5, 2)]
PAIRS = list(product(ORDERS, repeat=2))


def drawn(shape: tuple[int, int, int, int], dtype: torch.dtype = torch.float64) -> list[Tensor]:
    """x, W, A, R, B; x and R have gradients."""
    b, m, n, r = shape
    random = torch.Generator().manual_seed(0)
    shapes = {"x": (b, n), "W": (m, n), "A": (r, n), "R": (r, r), "B": (m, r)}
    return [
        torch.randn(size, generator=random, dtype=torch.float64)
        .to(dtype)
        .requires_grad_(name in {"x", "R"})
        for name, size in shapes.items()
    ]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("orders", PAIRS)
def test_every_order_has_the_output_and_the_gradients_of_lora_xs(orders, shape):
    x, W, A, R, B = drawn(shape)
    random = torch.Generator().manual_seed(1)
    g = torch.randn(shape[0], shape[1], generator=random, dtype=torch.float64)
    plain = x @ W.T + 0.7 * (x @ A.T) @ R.T @ B.T
    expected = torch.autograd.grad(plain, [x, R], g)
    y = CoreProduct.apply(x, W, A, R, B, 0.7, orders, True)
    found = torch.autograd.grad(y, [x, R], g)
    for one, other in zip((y, *found), (plain, *expected), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(
        CoreProduct.apply(x, W, A, R, B, 0.7, orders, False), plain, rtol=1e-10, atol=1e-10
    )


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("order", ORDERS)
def test_operations_are_those_that_torch_counts(order, shape):
    x, W, A, R, B = drawn(shape, torch.float32)
    for learns in (False, True):
        with FlopCounterMode(display=False) as counter:
            y = CoreProduct.apply(x, W, A, R, B, 0.7, (order, order), learns)
        assert counter.get_total_flops() == forward_operations(*shape, order, learns=learns)
    with FlopCounterMode(display=False) as counter:
        y.sum().backward()
    assert counter.get_total_flops() == backward_operations(*shape, order)


def chain(sizes: tuple[int, ...]) -> int:
    """Fewest operations of a product of matrices sizes[0] x sizes[1], sizes[1] x sizes[2], ..."""
    if len(sizes) < 3:
        return 0
    return min(
        chain(sizes[: at + 1]) + chain(sizes[at:]) + 2 * sizes[0] * sizes[at] * sizes[-1]
        for at in range(1, len(sizes) - 1)
    )


@pytest.mark.parametrize(
    ("m", "n", "r"), [(384, 384, 16), (384, 1536, 8), (1536, 384, 64), (4096, 4096, 96)]
)
def test_no_other_order_has_fewer_operations(m, n, r):
    """Against all ways to set brackets, with and without the weight."""
    merged = min(chain((m, r, r, n)), 2 * m * r * n + 2 * r * r * min(m, n))
    for b in (1, 64, 300, 384, 385, 1000, 1537, 4096, 4097, 50_000):
        forward, backward = cheapest(b, m, n, r)
        low = 2 * b * n * r  # x A^T is needed in any case
        best = min(low + chain((b, r, r, m)), low + merged, chain((b, n, r, r, m)) + low)
        found = forward_operations(b, m, n, r, forward) - 2 * b * n * m
        assert found == best
        of_R = 2 * b * (m * r + r * r)
        best = min(chain((b, r, r, n)), merged)
        assert backward_operations(b, m, n, r, backward) - 2 * b * n * m - of_R == best
        # without a gradient x A^T may be left out
        forward, _ = cheapest(b, m, n, r, learns=False)
        best = min(chain((b, n, r, r, m)), merged)
        assert forward_operations(b, m, n, r, forward, learns=False) - 2 * b * n * m == best


def test_square_weights_are_merged_above_as_many_tokens_as_inputs():
    for n, r in [(384, 8), (384, 96), (4096, 96)]:
        assert cheapest(n, n, n, r) == ("apart", "apart")
        assert cheapest(n + 1, n, n, r) == ("merged", "merged")


@pytest.mark.parametrize("orders", PAIRS)
def test_one_vector_of_r_a_token_is_kept_for_backward(orders):
    b, m, n, r = SHAPES[0]
    kept: list[Tensor] = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t) or t, lambda t: t):  # type: ignore[func-returns-value]
        CoreProduct.apply(*drawn(SHAPES[0], torch.float32), 0.7, orders, True)
    assert sorted(tuple(t.shape) for t in kept) == sorted([(b, r), (m, n), (r, n), (r, r), (m, r)])


@pytest.mark.parametrize("variant", ["lora-xs", "lora-sb"])
def test_a_model_has_the_gradients_of_the_order_that_is_written(variant, tmp_path, monkeypatch):
    applied: list[str] = []
    whole = CoreProduct.apply

    def apply(*given: Any) -> Tensor:
        *_, orders, learns = given
        applied.extend(orders if learns else orders[:1])
        return whole(*given)

    monkeypatch.setattr(CoreProduct, "apply", apply)
    found, plain = (attached(name, tmp_path)[1] for name in (f"{variant}-fewest", variant))
    assert any(isinstance(module, ChoosingLinear) for module in found.modules())
    for model in (found, plain):
        for name, value in model.named_parameters():
            if ".lora_xs_R." in name:
                value.data += 0.1
    torch.testing.assert_close(logits(found), logits(plain), rtol=1e-4, atol=1e-5)
    for times in (1, 4):
        many = {name: value.repeat(times, 1) for name, value in inputs().items()}
        for model in (found, plain):
            model(**many, labels=many["input_ids"]).loss.backward()
    # of fewer tokens still both passes are apart, the layer's own
    assert set(applied) == {"folded", "merged"}
    expected = {name: value.grad for name, value in plain.named_parameters()}
    for name, value in found.named_parameters():
        assert (value.grad is None) == (expected[name] is None)
        if value.grad is not None:
            torch.testing.assert_close(value.grad, expected[name], rtol=1e-4, atol=1e-5)


def test_a_run_has_the_losses_of_lora_xs(tmp_path):
    expected = bert.run("lora-xs", tmp_path / "plain", {}).log
    found = bert.run("lora-xs-fewest", tmp_path / "fewest", {}).log
    for one, other in zip(found, expected, strict=True):
        # float32 sums in another order
        assert one["loss"] == pytest.approx(other["loss"], rel=1e-4)


def test_dropout_fits_no_merged_product():
    with pytest.raises(UserError, match="fits no merged weight"):
        make_method("lora-xs", {"products": "fewest", "dropout": 0.1})
