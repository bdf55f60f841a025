"""LoRA-Pro against closed forms, dense solvers and a loop written out, in float64."""

from __future__ import annotations

import io
import math
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from peft.optimizers import create_lorafa_optimizer
from scipy.linalg import solve_sylvester
from torch import Tensor, nn

from lorasb.errors import UserError
from lorasb.methods.lora_pro.method import lora_pairs
from lorasb.methods.lora_pro.optimizer import (
    LoraProAdamW,
    Pair,
    adjusted_gradients,
    equivalent_gradient,
)
from tests.unit.tiny import LLAMA_TARGETS, tiny_llama

M, N, R, S = 7, 5, 3, 1.7
# of sums of a few products of size 1 in float64, conditioning included
EXACT = {"rtol": 1e-10, "atol": 1e-10}


def draw(*shape: int, seed: int = 0) -> Tensor:
    random = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=random, dtype=torch.float64)


def case(m: int = M, n: int = N, r: int = R, s: float = S) -> tuple[Pair, Tensor]:
    """Factors, and the gradient g of the whole weight."""
    return Pair(draw(r, n, seed=1), draw(m, r, seed=2), s), draw(m, n, seed=3)


def raw(pair: Pair, g: Tensor) -> tuple[Tensor, Tensor]:
    return pair.scaling * pair.B.T @ g, pair.scaling * g @ pair.A.T


def solved(pair: Pair, g: Tensor) -> tuple[Tensor, Tensor]:
    return adjusted_gradients(pair, *raw(pair, g), damping=0.0)


def moved(pair: Pair, g: Tensor) -> Tensor:
    """The equivalent gradient."""
    return equivalent_gradient(pair, *solved(pair, g))


def projector(columns: Tensor) -> Tensor:
    return columns @ torch.linalg.pinv(columns)


def shifted(pair: Pair, g: Tensor, E: Tensor) -> tuple[Tensor, Tensor]:
    """The solution with X + E in place of X."""
    h_A, h_B = solved(pair, g)
    return h_A + E @ pair.A, h_B - pair.B @ E


def test_equivalent_gradient_leaves_out_what_no_factor_reaches():
    pair, g = case()
    missed = (torch.eye(M) - projector(pair.B)) @ g @ (torch.eye(N) - projector(pair.A.T))
    torch.testing.assert_close(moved(pair, g), g - missed, **EXACT)
    other = equivalent_gradient(pair, *shifted(pair, g, draw(R, R, seed=4)))
    torch.testing.assert_close(other, g - missed, **EXACT)


def test_no_pair_comes_closer_than_a_dense_least_squares_solution():
    pair, g = case()
    identity_m, identity_n = torch.eye(M).double(), torch.eye(N).double()
    # row-major vec: vec(B h_A) = (B x I) vec(h_A), vec(h_B A) = (I x A^T) vec(h_B)
    map_A = pair.scaling * torch.kron(pair.B, identity_n)
    map_B = pair.scaling * torch.kron(identity_m, pair.A.T.contiguous())
    dense = torch.cat([map_A, map_B], dim=1)
    best = torch.linalg.lstsq(dense, g.reshape(-1, 1), driver="gelsd").solution
    residual = (dense @ best).reshape(M, N) - g
    torch.testing.assert_close(moved(pair, g) - g, residual, **EXACT)


def test_x_solves_the_sylvester_equation_and_keeps_the_pair_closest_to_the_raw_gradients():
    pair, g = case()
    A, B, s = pair
    g_A, g_B = raw(pair, g)
    inner = torch.linalg.inv(B.T @ B) @ g_A / s**2
    h_A, h_B = solved(pair, g)
    X = (h_A - inner) @ torch.linalg.pinv(A)
    torch.testing.assert_close(h_A, inner + X @ A, **EXACT)
    residual = B.T @ B @ X + X @ A @ A.T + inner @ A.T
    assert residual.abs().max() < 1e-10

    def distance(h_A: Tensor, h_B: Tensor) -> float:
        return ((h_A - g_A).square().sum() + (h_B - g_B).square().sum()).item()

    for seed in range(20):
        for size in (1e-3, 1.0):
            E = size * draw(R, R, seed=10 + seed)
            assert distance(*shifted(pair, g, E)) > distance(h_A, h_B)


def test_step_goes_downhill_by_the_same_amount_for_every_x():
    pair, g = case()
    g_A, g_B = raw(pair, g)
    expected = (g * moved(pair, g)).sum()
    assert expected > 0
    for E in (torch.zeros(R, R).double(), draw(R, R, seed=5)):
        h_A, h_B = shifted(pair, g, E)
        torch.testing.assert_close((g_A * h_A).sum() + (g_B * h_B).sum(), expected, **EXACT)


def test_full_rank_pair_moves_the_weight_as_full_fine_tuning_does():
    pair, g = case(r=N)
    torch.testing.assert_close(moved(pair, g), g, **EXACT)

    def miss(rate: float) -> float:
        """Distance of an optimiser's step from AdamW's on the weight itself."""
        A, B = nn.Parameter(pair.A.clone()), nn.Parameter(pair.B.clone())
        A.grad, B.grad = raw(pair, g)
        weight = nn.Parameter(S * pair.B @ pair.A)
        weight.grad = g
        LoraProAdamW([Pair(A, B, S)], lr=rate, damping=0.0).step()
        torch.optim.AdamW([weight], lr=rate, weight_decay=0.0).step()
        return (S * B @ A - weight).norm().item()

    # what is left is s lr^2 h_B h_A: a hundredth for a tenth of the rate
    assert miss(1e-4) == pytest.approx(miss(1e-3) / 100, rel=1e-3)


def test_first_step_from_zero_moves_b_alone():
    pair, g = case()
    pair = pair._replace(B=torch.zeros(M, R).double())
    h_A, h_B = solved(pair, g)
    assert torch.equal(h_A, torch.zeros(R, N).double())
    along = g @ projector(pair.A.T)
    torch.testing.assert_close(equivalent_gradient(pair, h_A, h_B), along, **EXACT)
    A, B = nn.Parameter(pair.A.clone()), nn.Parameter(pair.B.clone())
    A.grad, B.grad = raw(pair, g)
    LoraProAdamW([Pair(A, B, S)], lr=0.01, damping=0.0).step()
    assert torch.equal(A, pair.A)
    # Adam's first direction, corrected for one step of bias, is g / (|g| + eps)
    U = along / (along.abs() + 1e-8)
    expected = -0.01 * U @ projector(pair.A.T)
    torch.testing.assert_close(S * B.detach() @ A.detach(), expected, **EXACT)


@pytest.mark.parametrize("damping", [0.0, 1e-8])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_rank_deficient_factors_give_a_finite_step_of_the_right_size(damping, dtype):
    pair, g = case()
    B = pair.B.clone()
    B[:, 2] = B[:, 0] + B[:, 1]
    pair = Pair(pair.A.to(dtype), B.to(dtype), S)
    h_A, h_B = adjusted_gradients(pair, *raw(pair, g.to(dtype)), damping=damping)
    outside = (torch.eye(M) - projector(B)) @ g @ (torch.eye(N) - projector(pair.A.double().T))
    found = equivalent_gradient(pair, h_A, h_B).double()
    # float32: rounding of the raw gradients, amplified by the Gram matrices' condition of about 30
    tolerance = 1e-6 if dtype == torch.float64 else 1e-4
    torch.testing.assert_close(found, g - outside, rtol=tolerance, atol=tolerance)


def test_equivalent_gradient_depends_on_the_product_alone():
    pair, g = case()
    A, B, s = pair
    T = draw(R, R, seed=6)
    turned = Pair(torch.linalg.inv(T) @ A, B @ T, s)
    scaled = Pair(A, 3.0 * B, s / 3.0)
    for other in (turned, scaled):
        torch.testing.assert_close(other.scaling * other.B @ other.A, s * B @ A, **EXACT)
        torch.testing.assert_close(moved(other, g), moved(pair, g), **EXACT)
        plain = equivalent_gradient(other, *raw(other, g))
        assert not torch.allclose(plain, equivalent_gradient(pair, *raw(pair, g)), rtol=1e-2)


def twin_step(
    A: Tensor, B: Tensor, g: Tensor, state: dict[str, Any], lr: float = 0.01, *, decay: float = 0.1
) -> tuple[Tensor, Tensor]:
    """The full form with explicit inverses and scipy's Sylvester solver."""

    def adjust(g_A: Tensor, g_B: Tensor) -> tuple[Tensor, Tensor]:
        BB, AA = torch.linalg.inv(B.T @ B), torch.linalg.inv(A @ A.T)
        right_side = -(BB @ g_A @ A.T) / S**2
        X = torch.from_numpy(solve_sylvester((B.T @ B).numpy(), (A @ A.T).numpy(), right_side))
        h_B = (torch.eye(M) - B @ BB @ B.T) @ g_B @ AA / S**2 - B @ X
        return BB @ g_A / S**2 + X @ A, h_B

    h_A, h_B = adjust(S * B.T @ g, S * g @ A.T)
    whole = S * (B @ h_A + h_B @ A)
    state["t"] += 1
    state["m"] = 0.9 * state["m"] + 0.1 * whole
    state["v"] = 0.999 * state["v"] + 0.001 * whole**2
    first, second = state["m"] / (1 - 0.9 ** state["t"]), state["v"] / (1 - 0.999 ** state["t"])
    U = first / (second.sqrt() + 1e-8)
    h_A, h_B = adjust(S * B.T @ U, S * U @ A.T)
    kept = math.sqrt(1 - lr * decay)
    return kept * A - lr * h_A, kept * B - lr * h_B


def test_full_form_matches_a_loop_written_out():
    pair, _ = case()
    A, B = nn.Parameter(pair.A.clone()), nn.Parameter(pair.B.clone())
    optimizer = LoraProAdamW([Pair(A, B, S)], lr=0.01, weight_decay=0.1, damping=0.0)
    twin_A, twin_B = pair.A.clone(), pair.B.clone()
    state = {"t": 0, "m": torch.zeros(M, N).double(), "v": torch.zeros(M, N).double()}
    for step in range(5):
        g = draw(M, N, seed=20 + step)
        A.grad, B.grad = raw(Pair(A.detach(), B.detach(), S), g)
        optimizer.step()
        twin_A, twin_B = twin_step(twin_A, twin_B, g, state)
        torch.testing.assert_close(A.detach(), twin_A, **EXACT)
        torch.testing.assert_close(B.detach(), twin_B, **EXACT)


def test_efficient_form_is_adamw_on_the_adjusted_gradients():
    pair, _ = case()
    A, B = nn.Parameter(pair.A.clone()), nn.Parameter(pair.B.clone())
    optimizer = LoraProAdamW(
        [Pair(A, B, S)], lr=0.01, form="efficient", weight_decay=0.1, damping=0.0
    )
    twin = [nn.Parameter(pair.A.clone()), nn.Parameter(pair.B.clone())]
    reference = torch.optim.AdamW(twin, lr=0.01, weight_decay=0.1)
    for step in range(5):
        g = draw(M, N, seed=20 + step)
        A.grad, B.grad = raw(Pair(A.detach(), B.detach(), S), g)
        now = Pair(twin[0].detach(), twin[1].detach(), S)
        twin[0].grad, twin[1].grad = solved(now, g)
        optimizer.step()
        reference.step()
    torch.testing.assert_close(A, twin[0], **EXACT)
    torch.testing.assert_close(B, twin[1], **EXACT)


@pytest.mark.parametrize("form", ["full", "efficient"])
def test_decay_shrinks_the_update_and_nothing_else_moves_without_a_gradient(form):
    pair, _ = case()
    A, B, other = (nn.Parameter(value.clone()) for value in (pair.A, pair.B, draw(4)))
    optimizer = LoraProAdamW([Pair(A, B, S)], [other], lr=0.1, form=form, weight_decay=0.5)
    optimizer.step()  # no gradient at all
    assert torch.equal(A, pair.A)
    A.grad, B.grad, other.grad = (torch.zeros_like(p) for p in (A, B, other))
    optimizer.step()
    shrunk = 0.95 if form == "full" else 0.95**2
    torch.testing.assert_close(B.detach() @ A.detach(), shrunk * pair.B @ pair.A, **EXACT)
    torch.testing.assert_close(other.detach(), 0.95 * draw(4), **EXACT)


def test_others_are_trained_by_torchs_adamw_bit_by_bit():
    ours, reference = (nn.Parameter(draw(4, 3).float()) for _ in range(2))
    optimizer = LoraProAdamW([], [ours], lr=0.01, weight_decay=0.1)
    adamw = torch.optim.AdamW([reference], lr=0.01, weight_decay=0.1, foreach=False)
    for step in range(4):
        ours.grad = reference.grad = draw(4, 3, seed=step).float()
        optimizer.step()
        adamw.step()
        assert torch.equal(ours, reference)


def chain(form: str, steps: int, interrupted_at: int | None = None) -> list[Tensor]:
    """Parameters after some steps; the optimiser goes through a file in between, if told."""
    shapes = [(R, N), (M, R), (2, 8), (6, 2), (4,)]
    parameters = [nn.Parameter(draw(*shape, seed=i).float()) for i, shape in enumerate(shapes)]
    with torch.no_grad():
        parameters[1].zero_()

    def build() -> LoraProAdamW:
        A1, B1, A2, B2, other = parameters
        return LoraProAdamW([Pair(A1, B1, S), Pair(A2, B2, 0.5)], [other], lr=0.02, form=form)

    optimizer = build()
    for step in range(steps):
        if step == interrupted_at:
            file = io.BytesIO()
            torch.save(optimizer.state_dict(), file)
            file.seek(0)
            optimizer = build()
            optimizer.load_state_dict(torch.load(file, weights_only=True))
        for index, parameter in enumerate(parameters):
            parameter.grad = draw(*parameter.shape, seed=100 * step + index).float()
        optimizer.step()
    return [parameter.detach() for parameter in parameters]


@pytest.mark.parametrize("form", ["full", "efficient"])
def test_state_that_went_through_a_file_goes_on_to_the_same_bits(form):
    whole, resumed = chain(form, 6), chain(form, 6, interrupted_at=3)
    assert all(torch.equal(a, b) for a, b in zip(whole, resumed, strict=True))


@pytest.mark.parametrize(("form", "numbers"), [("full", 2 * M * N), ("efficient", 2 * R * (M + N))])
def test_state_is_float32_and_of_the_size_that_is_counted(form, numbers):
    A, B = (nn.Parameter(value.float()) for value in case()[0][:2])
    A.grad, B.grad = torch.ones(R, N), torch.ones(M, R)
    optimizer = LoraProAdamW([Pair(A, B, S)], lr=0.01, form=form)
    optimizer.step()
    moments = [
        value
        for state in optimizer.state.values()
        for name, value in state.items()
        if name != "step"
    ]
    assert sum(value.numel() for value in moments) == numbers
    assert {value.dtype for value in moments} == {torch.float32}


def test_step_of_b_with_frozen_a_is_that_of_lora_fa():
    """PEFT's LoRA-FA adjusts g_B by the same formula, of which P_B = 0 is left where B = 0."""
    config = LoraConfig(r=4, lora_alpha=6, target_modules=LLAMA_TARGETS)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        adapted = get_peft_model(tiny_llama(0), config)
    pairs = lora_pairs(adapted)
    assert len(pairs) == 2 * len(LLAMA_TARGETS)
    ids = torch.tensor([[5, 6, 7, 8, 9, 4]])
    adapted(input_ids=ids, labels=ids).loss.backward()
    expected = [
        adjusted_gradients(pair, torch.zeros_like(pair.A), pair.B.grad)[1].detach()
        for pair in pairs
    ]
    reference = create_lorafa_optimizer(adapted, r=4, lora_alpha=6, lr=1e-3)
    reference.step()
    states = [value for value in reference.state.values() if "exp_avg_B" in value]
    for state, h_B in zip(states, expected, strict=True):
        # its first moment is a tenth of h_B; PEFT multiplies in bfloat16, two factors of 8 bits
        size = h_B.abs().max().item()
        torch.testing.assert_close(10 * state["exp_avg_B"], h_B, rtol=0, atol=size * 2**-6)


@pytest.mark.parametrize(
    ("change", "part"),
    [
        ({"A": nn.Parameter(torch.zeros(R + 1, N))}, r"\(r, n\) and \(m, r\)"),
        ({"A": nn.Parameter(torch.zeros(R, N), requires_grad=False)}, "both should be trained"),
        ({"B": nn.Parameter(torch.zeros(M, R).bfloat16())}, "should be float32"),
        ({"scaling": 0.0}, "scaling is 0"),
    ],
)
def test_pair_that_cannot_be_trained_is_refused(change, part):
    pair = Pair(nn.Parameter(torch.zeros(R, N)), nn.Parameter(torch.zeros(M, R)), S)
    with pytest.raises(UserError, match=part):
        LoraProAdamW([pair._replace(**change)], lr=0.1)


def test_unknown_form_is_refused():
    with pytest.raises(UserError, match="form 'best' is unknown"):
        LoraProAdamW([], [nn.Parameter(torch.zeros(1))], lr=0.1, form="best")  # type: ignore[arg-type]
