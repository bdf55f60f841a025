"""The adapted layer against W0 + s B R A written out, and the theorems that rest on it."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from transformers.pytorch_utils import Conv1D

from lorasb.errors import UserError
from lorasb.tuner import LoraXSConfig, LoraXSLayer

OUT, IN, RANK = 7, 10, 3


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def linear(kind: type[nn.Module] = nn.Linear, dtype: torch.dtype = torch.float32) -> nn.Module:
    layer = nn.Linear(IN, OUT) if kind is nn.Linear else Conv1D(OUT, IN)
    weight = normal(OUT, IN, seed=1)
    layer.weight.data = weight if kind is nn.Linear else weight.T.contiguous()
    layer.bias.data = normal(OUT, seed=2)
    return layer.to(dtype)


def adapted(base: nn.Module | None = None, **options: Any) -> LoraXSLayer:
    layer = LoraXSLayer(base or linear(), "block.proj", "default")
    layer.update_layer("default", LoraXSConfig(**{"r": RANK} | options))
    return layer


def trained(base: nn.Module | None = None, **options: Any) -> LoraXSLayer:
    """R far from its start; B and A not orthonormal."""
    layer = adapted(base, **options)
    fill(layer, normal(OUT, RANK, seed=3), normal(RANK, RANK, seed=4), normal(RANK, IN, seed=5))
    return layer


def fill(layer: LoraXSLayer, B: Tensor, R: Tensor, A: Tensor, name: str = "default") -> None:
    with torch.no_grad():
        layer.lora_xs_B[name].copy_(B)
        layer.lora_xs_R[name].copy_(R)
        layer.lora_xs_A[name].copy_(A)


def matrices(layer: LoraXSLayer) -> tuple[Tensor, Tensor, Tensor]:
    return tuple(
        part["default"].detach().double()
        for part in (layer.lora_xs_B, layer.lora_xs_R, layer.lora_xs_A)
    )


def dense(layer: LoraXSLayer) -> Tensor:
    """W0 + s B R A as (out, in), float64."""
    B, R, A = matrices(layer)
    weight = layer.get_base_layer().weight.detach().double()
    oriented = weight.T if isinstance(layer.get_base_layer(), Conv1D) else weight
    return oriented + layer.scaling["default"] * B @ R @ A


@pytest.mark.parametrize("kind", [nn.Linear, Conv1D])
@pytest.mark.parametrize("scaling", [1.0, 0.5])
def test_output_is_that_of_the_written_out_weight(kind, scaling):
    layer, x = trained(linear(kind), scaling=scaling), normal(4, 5, IN)
    expected = F.linear(x.double(), dense(layer), layer.bias.double())
    # float32 sums of about 10 products of size 1 to 30
    torch.testing.assert_close(layer(x).double(), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("scaling", [1.0, 0.5])
def test_gradient_of_r_is_s_bt_g_at(scaling):
    """Lemma 2 of arXiv 2411.19557; G is the gradient of the dense weight."""
    layer, x, y = trained(scaling=scaling), normal(6, IN), normal(6, OUT, seed=8)
    F.mse_loss(layer(x), y).backward()
    weight = dense(layer).requires_grad_(True)
    loss = F.mse_loss(F.linear(x.double(), weight, layer.bias.double()), y.double())
    (G,) = torch.autograd.grad(loss, weight)
    B, _, A = matrices(layer)
    expected = scaling * B.T @ G @ A.T
    torch.testing.assert_close(
        layer.lora_xs_R["default"].grad.double(), expected, rtol=1e-4, atol=1e-5
    )


def test_only_r_is_a_parameter_and_the_rest_is_stored():
    layer = adapted()
    added = {name for name, _ in layer.named_parameters() if "base_layer" not in name}
    assert added == {"lora_xs_R.default"}
    stored = {name for name in layer.state_dict() if "base_layer" not in name}
    assert stored == {"lora_xs_R.default", "lora_xs_A.default", "lora_xs_B.default"}


def test_r_is_frozen_in_inference_mode():
    assert adapted().lora_xs_R["default"].requires_grad
    assert not adapted(inference_mode=True).lora_xs_R["default"].requires_grad


def test_training_moves_r_and_no_basis():
    layer = trained()
    B, R, A = (
        part["default"].clone() for part in (layer.lora_xs_B, layer.lora_xs_R, layer.lora_xs_A)
    )
    base = layer.weight.detach().clone()
    optimizer = torch.optim.AdamW([layer.lora_xs_R["default"]], lr=0.1)
    for seed in range(3):
        F.mse_loss(layer(normal(6, IN, seed=seed)), torch.zeros(6, OUT)).backward()
        optimizer.step()
        optimizer.zero_grad()
    after_B, after_R, after_A = matrices(layer)
    assert torch.equal(after_B, B)
    assert torch.equal(after_A, A)
    assert torch.equal(layer.weight, base)
    assert not torch.equal(after_R, R)


def orthonormal(scaling: float = 1.0) -> LoraXSLayer:
    layer = adapted(scaling=scaling)
    B, _ = torch.linalg.qr(normal(OUT, RANK, seed=3))
    A, _ = torch.linalg.qr(normal(IN, RANK, seed=5))
    fill(layer, B, torch.diag(torch.tensor([3.0, 2.0, 1.0])) / scaling, A.T)
    return layer


def loss_of(layer: LoraXSLayer) -> Tensor:
    return F.mse_loss(layer(normal(6, IN)), normal(6, OUT, seed=8))


def test_a_step_with_orthonormal_bases_is_the_best_that_they_allow():
    """Theorems 3 and 5: the step of W is the least-squares fit of G by B g A, P_B G P_A."""
    layer, rate = orthonormal(), 0.1
    weight = dense(layer).requires_grad_(True)
    output = F.linear(normal(6, IN).double(), weight, layer.bias.double())
    (G,) = torch.autograd.grad(F.mse_loss(output, normal(6, OUT, seed=8).double()), weight)
    B, _, A = matrices(layer)
    design = torch.kron(B, A.T.contiguous())  # maps g, row by row, to B g A
    g = torch.linalg.lstsq(design, G.reshape(-1, 1)).solution.reshape(RANK, RANK)
    before = dense(layer).detach()
    loss_of(layer).backward()
    torch.optim.SGD([layer.lora_xs_R["default"]], lr=rate).step()
    step = dense(layer).detach() - before
    torch.testing.assert_close(step, -rate * B @ g @ A, rtol=0, atol=1e-6)  # float32 R of size 3
    torch.testing.assert_close(step, -rate * B @ B.T @ G @ A.T @ A, rtol=0, atol=1e-6)


def final_weight(scaling: float, kind: type[torch.optim.Optimizer], rate: float) -> Tensor:
    layer = orthonormal(scaling)
    optimizer = kind([layer.lora_xs_R["default"]], lr=rate)
    for _ in range(20):
        optimizer.zero_grad()
        loss_of(layer).backward()
        optimizer.step()
    return dense(layer).detach()


@pytest.mark.parametrize("scaling", [0.25, 4.0])
def test_scaling_drops_out_of_optimal_gradient_steps_but_not_of_adamw(scaling):
    """Theorem 5: the best g is G_R / s^2, SGD with its rate over s^2; AdamW cancels 1 / s^2."""
    one = final_weight(1.0, torch.optim.SGD, 0.05)
    other = final_weight(scaling, torch.optim.SGD, 0.05 / scaling**2)
    torch.testing.assert_close(other, one, rtol=0, atol=1e-5)  # float32, weights of size 1
    one = final_weight(1.0, torch.optim.AdamW, 0.05)
    other = final_weight(scaling, torch.optim.AdamW, 0.05 / scaling**2)
    assert (other - one).abs().max() > 0.05


def test_weights_start_is_the_svd_of_the_weight():
    layer = adapted()
    B, R, A = matrices(layer)
    U, S, Vh = torch.linalg.svd(layer.weight.detach().double(), full_matrices=False)
    best = U[:, :RANK] @ torch.diag(S[:RANK]) @ Vh[:RANK]
    torch.testing.assert_close(B @ A, best, rtol=0, atol=1e-5)  # float32 SVD
    # a float32 SVD is orthonormal to its size times 1.2e-7
    torch.testing.assert_close(B.T @ B, torch.eye(RANK).double(), rtol=0, atol=5e-6)
    torch.testing.assert_close(A @ A.T, torch.diag(S[:RANK] ** 2), rtol=0, atol=1e-4)
    left_out = torch.linalg.matrix_norm(layer.weight.detach() - B @ A) ** 2
    assert left_out.item() == pytest.approx(S[RANK:].square().sum().item(), rel=1e-5)
    assert 0 < R.abs().max() < 6e-5  # nine draws of 1e-5


def test_zero_r_gives_the_base_and_identity_doubles_the_top_of_the_weight():
    layer, x = adapted(scaling=0.5), normal(4, IN)
    with torch.no_grad():
        layer.lora_xs_R["default"].zero_()
        assert torch.equal(layer(x), layer.get_base_layer()(x))
        layer.lora_xs_R["default"].copy_(torch.eye(RANK) / 0.5)
    doubled = torch.linalg.svdvals(dense(layer).detach())[:RANK]
    torch.testing.assert_close(
        doubled, 2 * torch.linalg.svdvals(layer.weight.double())[:RANK].detach(), rtol=1e-5, atol=0
    )


def test_full_rank_reaches_every_update():
    layer, wanted = adapted(r=OUT), normal(OUT, IN, seed=9).double()
    # rows of A span 7 of 10 dimensions: any update inside that span
    B, _, A = matrices(layer)
    wanted = wanted @ torch.linalg.pinv(A) @ A
    fill(layer, B, torch.linalg.pinv(B) @ wanted @ torch.linalg.pinv(A), A)
    torch.testing.assert_close(
        layer.get_delta_weight("default").double(), wanted, rtol=0, atol=1e-5
    )


def test_empty_start_is_the_base_model():
    layer, x = adapted(init_weights="empty").eval(), normal(4, IN)
    assert torch.equal(layer(x), layer.get_base_layer()(x))
    assert not any(matrix.any() for matrix in matrices(layer))


@pytest.mark.parametrize("kind", [nn.Linear, Conv1D])
@pytest.mark.parametrize("safe_merge", [False, True])
def test_merged_equals_unmerged_and_can_be_undone(kind, safe_merge):
    layer, x = trained(linear(kind)), normal(4, IN)
    output, weight, bias = layer(x), layer.weight.detach().clone(), layer.bias.detach().clone()
    layer.merge(safe_merge=safe_merge)
    assert layer.merged
    assert not torch.equal(layer.weight, weight)
    torch.testing.assert_close(layer(x), output, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(layer.get_base_layer()(x), output, rtol=1e-5, atol=1e-5)
    layer.unmerge()
    # one rounding of sums of size 10
    torch.testing.assert_close(layer.weight, weight, rtol=0, atol=2e-6)
    assert torch.equal(layer.bias, bias)
    assert not layer.merged


def test_merging_twice_adds_once():
    layer = trained()
    layer.merge()
    weight = layer.weight.detach().clone()
    with pytest.warns(UserWarning, match="already merged|All adapters"):
        layer.merge()
    assert torch.equal(layer.weight, weight)
    layer.unmerge()
    with pytest.warns(UserWarning, match="Already unmerged"):
        layer.unmerge()


def test_safe_merge_refuses_what_is_not_finite_and_changes_nothing():
    layer = trained()
    layer.lora_xs_R["default"].data[0, 0] = float("inf")
    weight = layer.weight.detach().clone()
    with pytest.raises(ValueError, match=r"block\.proj: NaNs detected in the merged weights"):
        layer.merge(safe_merge=True)
    assert torch.equal(layer.weight, weight)
    assert not layer.merged
    layer.merge()
    assert not torch.isfinite(layer.weight).all()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_factors_stay_float32_on_low_precision_weights(dtype):
    layer, x = trained(linear(dtype=dtype)), normal(4, IN).to(dtype)
    layer._move_adapter_to_device_of_base_layer("default")
    assert layer.weight.dtype == dtype
    assert {matrix.dtype for _, matrix in layer.lora_xs_R.items()} == {torch.float32}
    assert layer.lora_xs_A["default"].dtype == layer.lora_xs_B["default"].dtype == torch.float32
    output = layer(x)
    assert output.dtype == dtype
    update = x.double() @ (dense(layer) - layer.weight.double()).T
    expected = layer.get_base_layer()(x).double() + update
    # the sum is rounded to the low precision: half its spacing. float16 computes in float32,
    # bfloat16 in itself: three products of a few terms, each rounded by 2^-9
    half = torch.finfo(dtype).eps / 2
    atol = 2**-6 * update.abs().max().item() if dtype == torch.bfloat16 else 1e-5
    torch.testing.assert_close(output.double(), expected, rtol=1.01 * half, atol=atol)
    layer.merge()
    assert layer.weight.dtype == dtype
    # merged in float32 and rounded once
    assert torch.equal(layer.weight, merged_once(layer))


def merged_once(layer: LoraXSLayer) -> Tensor:
    weight = normal(OUT, IN, seed=1).to(layer.weight.dtype).float()
    return (weight + layer.get_delta_weight("default")).to(layer.weight.dtype)


TOKENS = 64  # more than in and out features: what is of their size is the largest there is


class Largest(TorchDispatchMode):
    """Entries of the largest float32 tensor that an operation makes."""

    def __init__(self) -> None:
        super().__init__()
        self.float32 = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        made = function(*args, **(kwargs or {}))
        if isinstance(made, Tensor) and made.dtype == torch.float32:
            self.float32 = max(self.float32, made.numel())
        return made


def low_precision(layer: LoraXSLayer, x: Tensor, *, autocast: bool) -> Tensor:
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        return layer(x)


@pytest.mark.parametrize("autocast", [False, True])
@pytest.mark.parametrize("scaling", [1.0, 0.5])
def test_gradients_in_low_precision_are_those_of_float64(autocast, scaling):
    base = linear(dtype=torch.float32 if autocast else torch.bfloat16)
    layer = trained(base, scaling=scaling)
    x = normal(2, TOKENS, IN).to(base.weight.dtype).requires_grad_(True)
    y = normal(2, TOKENS, OUT, seed=8)
    (low_precision(layer, x, autocast=autocast).float() * y).sum().backward()
    G = torch.einsum("bto,bti->oi", y.double(), x.detach().double())
    B, _, A = matrices(layer)
    R = layer.lora_xs_R["default"]
    assert R.grad.dtype == torch.float32
    for found, expected in (
        (R.grad, scaling * B.T @ G @ A.T),
        (x.grad, y.double() @ dense(layer)),
    ):
        # y and three products, each rounded by 2^-9
        torch.testing.assert_close(
            found.double(), expected, rtol=0, atol=2**-6 * expected.abs().max().item()
        )


@pytest.mark.parametrize("autocast", [False, True])
@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_low_precision_keeps_the_small_vector_alone_for_backward(autocast, dropout):
    base = linear(dtype=torch.float32 if autocast else torch.bfloat16).requires_grad_(False)
    layer = trained(base, dropout=dropout).train()
    own = {t.data_ptr() for t in (*layer.parameters(), *layer.buffers())}
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t) or t, lambda t: t):
        output = low_precision(layer, normal(TOKENS, IN).to(layer.weight.dtype), autocast=autocast)
    new = [t for t in kept if t.data_ptr() not in own]
    assert [(t.shape, t.dtype) for t in new] == [((TOKENS, RANK), torch.bfloat16)]
    assert output.requires_grad


def test_nothing_of_the_size_of_the_activations_is_float32():
    layer = trained(linear(dtype=torch.bfloat16))
    x = normal(TOKENS, IN).bfloat16()
    with Largest() as largest:
        layer(x).backward(torch.ones(TOKENS, OUT, dtype=torch.bfloat16))
    # A, B, R, and for R's gradient the two vectors of R's size for each token
    assert largest.float32 <= TOKENS * RANK < min(x.numel(), TOKENS * OUT)


def test_small_updates_survive_autocast():
    layer, x = trained(), normal(4, IN)
    with torch.autocast("cpu", torch.bfloat16):
        low = layer(x)
    # three products in bfloat16, whose spacing is 2^-8
    torch.testing.assert_close(low.float(), layer(x), rtol=0.1, atol=0.5)
    low.sum().backward()
    assert layer.lora_xs_R["default"].grad.dtype == torch.float32


def test_dropout_acts_on_the_adapter_alone_and_in_training_alone():
    layer, x = trained(dropout=0.5), normal(40, IN)
    base = layer.get_base_layer()(x)
    torch.manual_seed(0)
    layer.train()
    first, second = layer(x), layer(x)
    assert not torch.equal(first, second)
    with torch.no_grad():
        layer.lora_xs_R["default"].zero_()
    assert torch.equal(layer(x), base)
    layer = trained(dropout=0.5).eval()
    assert torch.equal(layer(x), trained()(x))


def test_disabling_gives_the_base_also_when_merged():
    layer, x = trained(), normal(4, IN)
    base = layer.get_base_layer()(x)
    layer.enable_adapters(False)
    assert torch.equal(layer(x), base)
    layer.enable_adapters(True)
    assert not torch.allclose(layer(x), base)
    layer.merge()
    layer.enable_adapters(False)
    torch.testing.assert_close(layer(x), base, rtol=0, atol=1e-4)
    assert not layer.merged


def test_several_adapters_add_up_and_can_be_deleted():
    layer, x = trained(), normal(4, IN)
    layer.update_layer("other", LoraXSConfig(r=2, init_weights="empty"))
    fill(layer, normal(OUT, 2), normal(2, 2), normal(2, IN), "other")
    base, first = layer.get_base_layer()(x), layer(x)
    layer.set_adapter(["other"])
    second = layer(x)
    layer.set_adapter(["default", "other"])
    torch.testing.assert_close(layer(x), first + second - base, rtol=1e-4, atol=1e-4)
    layer.merge(adapter_names=["other"])
    torch.testing.assert_close(layer.get_base_layer()(x), second, rtol=1e-4, atol=1e-4)
    layer.unmerge()
    layer.delete_adapter("other")
    assert not any("other" in name for name in layer.state_dict())
    assert "other" not in layer.r
    torch.testing.assert_close(layer(x), first, rtol=1e-4, atol=1e-4)


def test_a_rank_that_the_weight_does_not_allow_is_refused():
    with pytest.raises(UserError, match=r"block\.proj: r is 8; the largest rank here is 7"):
        adapted(r=8)
    assert adapted(r=7).r["default"] == 7


def test_bases_are_not_taken_from_a_merged_weight():
    layer = trained()
    layer.merge()
    with pytest.raises(UserError, match="adapter default is merged"):
        layer.update_layer("other", LoraXSConfig(r=2))
    layer.update_layer("empty", LoraXSConfig(r=2, init_weights="empty"))


def test_seed_and_name_decide_r():
    def start(seed: int, name: str) -> Tensor:
        layer = LoraXSLayer(linear(), name, "default")
        state = torch.random.get_rng_state()
        layer.update_layer("default", LoraXSConfig(r=RANK, seed=seed))
        assert torch.equal(state, torch.random.get_rng_state())
        return layer.lora_xs_R["default"].detach()

    assert torch.equal(start(0, "a"), start(0, "a"))
    assert not torch.equal(start(0, "a"), start(1, "a"))
    assert not torch.equal(start(0, "a"), start(0, "b"))


@pytest.mark.parametrize("parts", ["R", "A", "B", "AB", "RB", "RAB"])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("base", [torch.float32, torch.bfloat16])
def test_parts_that_are_cast_alone_compute_in_the_widest_dtype(parts, dtype, base):
    """FSDP2's `param_dtype` casts R and leaves A and B, which are buffers."""
    layer, x = trained(linear(dtype=base)), normal(4, IN).to(base)
    for part in parts:
        matrices_of = getattr(layer, f"lora_xs_{part}")
        cast = matrices_of["default"].detach().to(dtype)
        matrices_of["default"] = nn.Parameter(cast) if part == "R" else cast
    output = layer(x)
    assert output.dtype == base
    expected = F.linear(x.double(), dense(layer), layer.bias.double())
    # three products of size 30 and the sum, in the narrowest dtype on the way
    narrow = dtype if parts == "RAB" else base
    eps = max(torch.finfo(narrow).eps, torch.finfo(base).eps, 1e-6)
    torch.testing.assert_close(output.double(), expected, rtol=0, atol=200 * eps)
    output.float().sum().backward()
    assert layer.lora_xs_R["default"].grad.dtype == layer.lora_xs_R["default"].dtype
    delta = layer.get_delta_weight("default")
    B, R, A = matrices(layer)
    assert delta.dtype == torch.float32
    torch.testing.assert_close(delta.double(), B @ R @ A, rtol=0, atol=1e-4)  # float32, size 30
    layer.merge()
    assert layer.weight.dtype == base


def test_an_empty_adapter_does_not_train():
    layer, x = adapted(init_weights="empty"), normal(4, IN)
    with pytest.raises(UserError, match="'default' is empty and can learn nothing: call lorasb"):
        layer(x)
    with torch.no_grad():
        layer(x)
    layer.enable_adapters(False)
    layer(x)
    layer.enable_adapters(True)
    fill(layer, normal(OUT, RANK), torch.zeros(RANK, RANK), normal(RANK, IN))
    layer(x).sum().backward()
    assert layer.lora_xs_R["default"].grad.any()
