"""VeLoRA (arXiv 2405.17991) as PEFT has it: what backward makes of compressed inputs."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from peft import LoraConfig, VeloraConfig, get_peft_model
from torch import Tensor, nn

OUT, RANK, ROWS = 6, 3, 5


def adapted(width: int, groups: int, direction: Tensor | None = None) -> Any:
    """A layer after a first pass, or with a direction that is given; float64."""
    torch.manual_seed(0)
    config = LoraConfig(
        r=RANK,
        lora_alpha=2 * RANK,
        target_modules=["0"],
        velora_config=VeloraConfig(num_groups=groups, scale=1.0, init_type="batch_average_once"),
    )
    model = get_peft_model(nn.Sequential(nn.Linear(width, OUT)), config)
    layer = model.base_model.model[0].double().train()
    nn.init.normal_(layer.lora_B["default"].weight)
    if direction is not None:
        layer.lora_velora_embed["default"] = direction
        layer.lora_velora_initialized["default"] = True
    return layer


def drawn(width: int) -> Tensor:
    random = torch.Generator().manual_seed(1)
    return torch.randn(ROWS, width, generator=random).double().requires_grad_()


def passed(layer: Any, x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Output, its gradient, and the gradients of x and A."""
    random = torch.Generator().manual_seed(2)
    g = torch.randn(ROWS, OUT, generator=random).double()
    y = layer(x)
    return y, g, *torch.autograd.grad(y, [x, layer.lora_A["default"].weight], g)


def kept(x: Tensor, direction: Tensor) -> Tensor:
    """The part of each part of the inputs along the direction."""
    parts = x.detach().reshape(ROWS, -1, len(direction))
    return ((parts @ direction)[..., None] * direction).reshape(x.shape)


def test_output_and_gradient_of_the_input_are_those_of_lora():
    layer, x = adapted(12, 4), drawn(12)
    y, g, of_x, of_A = passed(layer, x)
    A, B = (getattr(layer, name)["default"].weight.detach() for name in ("lora_A", "lora_B"))
    base = layer.base_layer
    assert torch.equal(y, base(x) + F.linear(F.linear(x, A), B) * 2)
    torch.testing.assert_close(of_x, g @ (base.weight + 2 * B @ A), rtol=1e-12, atol=1e-12)
    direction = layer.lora_velora_embed["default"].double()
    expected = 2 * (g @ B).T @ kept(x, direction)
    torch.testing.assert_close(of_A, expected, rtol=1e-10, atol=1e-10)
    assert not torch.allclose(of_A, 2 * (g @ B).T @ x, rtol=0.1)


def test_the_direction_is_the_mean_of_the_first_batch():
    layer, x = adapted(12, 4), drawn(12)
    layer(x)
    mean = x.detach().reshape(-1, 3).mean(dim=0)
    found = layer.lora_velora_embed["default"].double()
    # PEFT normalises in float32
    torch.testing.assert_close(found, mean / mean.norm(), rtol=1e-6, atol=1e-6)
    layer(2 * x.flip(0))
    assert torch.equal(layer.lora_velora_embed["default"].double(), found)


@pytest.mark.parametrize("along", [True, False])
def test_parts_along_the_direction_are_exact_and_those_across_it_are_lost(along):
    direction = torch.tensor([0.6, 0.8, 0.0], dtype=torch.float64)
    across = torch.tensor([-0.8, 0.6, 0.0], dtype=torch.float64)
    lengths = drawn(4).detach()
    x = (lengths[..., None] * (direction if along else across)).reshape(ROWS, 12).requires_grad_()
    layer = adapted(12, 4, direction)
    _, g, _, of_A = passed(layer, x)
    whole = 2 * (g @ layer.lora_B["default"].weight.detach()).T @ x.detach()
    expected = whole if along else torch.zeros_like(whole)
    torch.testing.assert_close(of_A, expected, rtol=1e-10, atol=1e-10)


def test_with_as_many_groups_as_inputs_it_is_lora():
    layer, x = adapted(12, 12), drawn(12)
    _, g, _, of_A = passed(layer, x)
    assert layer.lora_velora_embed["default"].abs().item() == 1.0
    whole = 2 * (g @ layer.lora_B["default"].weight.detach()).T @ x.detach()
    torch.testing.assert_close(of_A, whole, rtol=1e-10, atol=1e-10)


def test_what_is_kept_is_a_projection():
    """Of inputs that have been projected already all is kept, and none becomes longer."""
    direction = torch.tensor([0.6, 0.0, 0.8], dtype=torch.float64)
    x = kept(drawn(12), direction).requires_grad_()
    _, g, _, of_A = passed(adapted(12, 4, direction), x)
    B = adapted(12, 4).lora_B["default"].weight.detach()
    torch.testing.assert_close(of_A, 2 * (g @ B).T @ x.detach(), rtol=1e-10, atol=1e-10)
    assert (kept(drawn(12), direction).norm(dim=1) <= drawn(12).norm(dim=1)).all()


def test_a_number_a_group_is_kept_of_each_input():
    layer, x = adapted(12, 4), drawn(12)
    shapes: list[tuple[int, ...]] = []
    with torch.autograd.graph.saved_tensors_hooks(
        lambda t: shapes.append(tuple(t.shape)) or t,  # type: ignore[func-returns-value]
        lambda t: t,
    ):
        layer(x)
    assert (ROWS, 4) in shapes
    assert (ROWS, 12) not in shapes


def test_inputs_that_no_groups_divide_are_filled_up_with_zeros():
    """Of 10 inputs in 4 groups of 3 the last group has one."""
    direction = torch.tensor([0.6, 0.8, 0.0], dtype=torch.float64)
    layer, x = adapted(10, 4, direction), drawn(10)
    _, g, _, of_A = passed(layer, x)
    filled = torch.cat([x.detach(), torch.zeros(ROWS, 2).double()], dim=1)
    expected = 2 * (g @ layer.lora_B["default"].weight.detach()).T @ kept(filled, direction)
    torch.testing.assert_close(of_A, expected[:, :10], rtol=1e-10, atol=1e-10)
