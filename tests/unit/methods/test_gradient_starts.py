"""LoRA-GA and LoRA-One: what their papers say of the start and of the first step."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from peft.tuners.lora import LoraLayer
from torch import Tensor

from lorasb.errors import UserError
from lorasb.methods.lora_ga import LoraGA
from lorasb.methods.lora_one import LoraOne
from lorasb.methods.peft.moved_start import lora_layers
from lorasb.models.layers import oriented_weight
from lorasb.seeding import seeded
from lorasb.start.gradients import estimate_gradients, load_gradients, save_gradients
from tests.contract.test_methods import LLAMA_TARGETS, RANK, context
from tests.unit.tiny import tiny_llama

ALPHA, GAMMA = 6.0, 16.0
LORA = {"r": "rank", "lora_alpha": ALPHA, "use_rslora": True}
S = ALPHA / RANK**0.5


def started(
    method: Any,
    folder: Path,
    scale: float = 1.0,
    change: Callable[[Tensor], Tensor] = lambda gradient: gradient,
) -> list[tuple[LoraLayer, Tensor]]:
    """Each adapted layer and its gradient, in float64."""
    model = tiny_llama(0)
    told = context(model, LLAMA_TARGETS, folder)
    drawn = load_gradients(told.inputs["gradient"])
    gradients = {n: change(scale * g).contiguous() for n, g in drawn.items()}
    save_gradients(gradients, told.inputs["gradient"])
    layers = dict(method.attach(model, told).get_base_model().named_modules())
    return [(layers[name], gradient.double()) for name, gradient in gradients.items()]


def factors(layer: LoraLayer) -> tuple[Tensor, Tensor]:
    A, B = layer.lora_A["default"].weight, layer.lora_B["default"].weight
    return A.detach().double(), B.detach().double()


def close(found: Tensor, expected: Tensor) -> None:
    """Up to float32's rounding of a few operations on values of size 1."""
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def best(matrix: Tensor, rank: int) -> Tensor:
    U, values, V = torch.linalg.svd(matrix, full_matrices=False)
    return U[:, :rank] * values[:rank] @ V[:rank]


@pytest.mark.parametrize("method", [LoraGA(ALPHA, GAMMA), LoraOne(GAMMA, LORA)])
def test_a_start_follows_the_model_to_its_device(tmp_path, method):
    model = tiny_llama(0)
    told = context(model, LLAMA_TARGETS, tmp_path)

    # a device that every machine has, and on which an operation with the host's tensors fails
    adapted = method.attach(model.to("meta"), told)

    assert {tensor.device.type for tensor in adapted.state_dict().values()} == {"meta"}


def test_factors_of_lora_ga_are_equally_long_and_of_other_directions(tmp_path):
    for layer, gradient in started(LoraGA(ALPHA, GAMMA), tmp_path):
        A, B = factors(layer)
        U, _, V = torch.linalg.svd(gradient)
        size = len(gradient) ** 0.5 / GAMMA * torch.eye(RANK).double()
        close(A @ A.T, size)
        close(B.T @ B, size)
        close(B.T @ U[:, :RANK], torch.zeros(RANK, RANK).double())
        close(A @ V[RANK:].T, torch.zeros(RANK, len(V) - RANK).double())
        assert layer.scaling["default"] == pytest.approx(S)


def test_lora_ga_starts_at_the_base_weight(tmp_path):
    base = dict(tiny_llama(0).named_modules())
    adapted = LoraGA(ALPHA, GAMMA)
    model = tiny_llama(0)
    layers = adapted.attach(model, context(model, LLAMA_TARGETS, tmp_path)).get_base_model()
    for name, layer in layers.named_modules():
        if isinstance(layer, LoraLayer):
            left = oriented_weight(layer.get_base_layer()) + layer.get_delta_weight("default")
            close(left.detach(), oriented_weight(base[name]))


def test_the_first_step_of_lora_ga_is_the_best_form_of_twice_the_rank(tmp_path):
    """dW = -lr s^2 sqrt(m) / gamma [g]_2r, with an error of the order of lr."""
    for layer, gradient in started(LoraGA(ALPHA, GAMMA), tmp_path):
        A, B = factors(layer)
        expected = -(S**2) * len(gradient) ** 0.5 / GAMMA * best(gradient, 2 * RANK)
        errors = []
        for lr in (1e-5, 1e-6):
            after = (B - lr * S * gradient @ A.T) @ (A - lr * S * B.T @ gradient)
            errors.append(((S * (after - B @ A)) / lr - expected).norm() / expected.norm())
        assert errors[1] < 1e-3
        assert errors[1] < errors[0] / 5 or errors[0] < 1e-5  # the latter is float32's rounding


def test_lora_ga_does_not_depend_on_the_size_of_the_gradient(tmp_path):
    small = started(LoraGA(ALPHA, GAMMA), tmp_path)
    large = started(LoraGA(ALPHA, GAMMA), tmp_path, scale=1024.0)  # a power of two: no rounding
    for (one, _), (other, _) in zip(small, large, strict=True):
        for a, b in zip(factors(one), factors(other), strict=True):
            close(a, b)


def test_lora_ga_follows_from_the_gradient_alone(tmp_path):
    """Twice the same of the same one, and others of another."""
    one, same = (started(LoraGA(ALPHA, GAMMA), tmp_path) for _ in range(2))
    other = started(LoraGA(ALPHA, GAMMA), tmp_path, change=lambda gradient: gradient.flip(0, 1))
    for (a, _), (b, _), (c, _) in zip(one, same, other, strict=True):
        assert all(torch.equal(x, y) for x, y in zip(factors(a), factors(b), strict=True))
        assert not torch.allclose(factors(a)[0].abs(), factors(c)[0].abs(), rtol=0.1)


def test_a_rank_above_half_a_weight_is_refused_for_lora_ga():
    method = LoraGA(ALPHA, GAMMA)
    assert method.count({"narrow": (8, 20)}, 4, 0).stored == 2 * 4 * 28
    with pytest.raises(UserError, match="'narrow'"):
        method.count({"narrow": (8, 20)}, 5, 0)


def test_lora_one_starts_at_the_best_form_of_the_step(tmp_path):
    for layer, gradient in started(LoraOne(GAMMA, LORA), tmp_path):
        A, B = factors(layer)
        largest = torch.linalg.svdvals(gradient)
        change = layer.get_delta_weight("default").detach().double()
        close(change, -S / (GAMMA * largest[0]) * best(gradient, RANK))
        x = torch.randn(3, gradient.shape[1], generator=torch.Generator().manual_seed(0))
        moved = (layer(x) - layer.get_base_layer()(x)).detach()
        close(moved, x @ change.float().T)
        assert torch.linalg.matrix_norm(change, 2) == pytest.approx(S / GAMMA, rel=1e-4)
        balanced = torch.diag(largest[:RANK] / (largest[0] * GAMMA))
        close(A @ A.T, balanced)
        close(B.T @ B, balanced)


@pytest.mark.parametrize(("scale", "sign"), [(1000.0, 1), (-1.0, -1)])
def test_lora_one_takes_the_direction_of_the_loss_and_not_its_size(tmp_path, scale, sign):
    plain = started(LoraOne(GAMMA, LORA), tmp_path)
    scaled = started(LoraOne(GAMMA, LORA), tmp_path, scale=scale)
    for (one, _), (other, _) in zip(plain, scaled, strict=True):
        change, found = (layer.get_delta_weight("default").detach() for layer in (one, other))
        close(found, sign * change)


def test_a_gradient_of_that_rank_is_met_exactly(tmp_path):
    model = tiny_llama(0)
    told = context(model, LLAMA_TARGETS, tmp_path)
    low = {n: best(g, RANK) for n, g in load_gradients(told.inputs["gradient"]).items()}
    save_gradients(low, told.inputs["gradient"])
    layers = dict(LoraOne(GAMMA, LORA).attach(model, told).get_base_model().named_modules())
    for name, gradient in low.items():
        change = layers[name].get_delta_weight("default").detach()
        close(change / change.norm(), -gradient / gradient.norm())


def test_nothing_is_left_of_the_gradients_and_weights_differ_by_the_start_alone(tmp_path):
    model = tiny_llama(0)
    base = {name: value.clone() for name, value in model.state_dict().items()}
    adapted = LoraGA(ALPHA, GAMMA).attach(model, context(model, LLAMA_TARGETS, tmp_path))
    assert all(value.grad is None for value in adapted.parameters())
    kept = {
        name: value
        for name, value in adapted.get_base_model().state_dict().items()
        if ".lora_" not in name
    }
    for name, layer in lora_layers(adapted).items():
        A, B = factors(layer)
        left = kept.pop(f"{name}.base_layer.weight").double()
        close(base.pop(f"{name}.weight").double() - left, S * B @ A)
    assert kept.keys() == base.keys()
    assert all(torch.equal(kept[name], value) for name, value in base.items())


def test_lora_one_lowers_the_loss_of_the_samples(tmp_path):
    ids = torch.randint(5, 40, (4, 9), generator=torch.Generator().manual_seed(6))
    batch = {"input_ids": ids, "labels": ids}
    model = tiny_llama(0)
    told = context(model, LLAMA_TARGETS, tmp_path)
    before = model.eval()(**batch).loss
    gradients = estimate_gradients(model, [batch], target_modules=LLAMA_TARGETS, num_samples=4)
    save_gradients(gradients, told.inputs["gradient"])
    adapted = LoraOne(128.0, LORA).attach(model, told).eval()
    assert adapted(**batch).loss < before - 1e-4  # above float32's rounding of a loss of size 4


def test_a_randomised_svd_has_the_directions_of_lora_one(tmp_path):
    """As the authors decompose, with 16 iterations, of a gradient with a gap behind the rank."""
    random = torch.Generator().manual_seed(2)
    model = tiny_llama(0)
    told = context(model, LLAMA_TARGETS, tmp_path)
    gapped = {}
    for name, gradient in load_gradients(told.inputs["gradient"]).items():
        U, _, V = torch.linalg.svd(gradient, full_matrices=False)
        values = torch.where(torch.arange(len(V)) < RANK, 5.0, 0.1)
        values[:RANK] += torch.arange(RANK).flip(0)
        gapped[name] = U * values @ V
    save_gradients(gapped, told.inputs["gradient"])
    layers = lora_layers(LoraOne(GAMMA, LORA).attach(model, told))
    for name, gradient in gapped.items():
        with seeded(random):
            U, _, V = torch.svd_lowrank(gradient, q=RANK + 2, niter=16)
        A, B = factors(layers[name])
        for exact, found in ((A.T, V), (B, U)):
            basis, _ = torch.linalg.qr(exact)
            cosines = torch.linalg.svdvals(basis.T @ found[:, :RANK].double())
            assert cosines.min() > 1 - 1e-6 / 2  # angles below 1e-3
