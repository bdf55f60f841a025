"""Flora's projections, what its state holds, and what is left when nothing is projected away."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from lorasb.methods.flora.optimizer import Flora, adafactor_direction


def parameter(m: int, n: int) -> nn.Parameter:
    return nn.Parameter(torch.randn(m, n, generator=torch.Generator().manual_seed(0)))


def made(matrix: nn.Parameter, rank: int = 4, kappa: int = 1000, seed: int = 0) -> Flora:
    return Flora([matrix], lr=0.01, rank=rank, kappa=kappa, seed=seed)


def gradients(m: int, n: int) -> list[Tensor]:
    random = torch.Generator().manual_seed(1)
    return [torch.randn(m, n, generator=random) for _ in range(6)]


def run(optimizer: Flora, matrix: nn.Parameter, steps: list[Tensor]) -> Tensor:
    for gradient in steps:
        matrix.grad = gradient
        optimizer.step()
    return matrix.detach().clone()


def test_projections_are_unbiased_and_their_error_is_known():
    """E g P P^T = g; the relative mean square error is (min(m, n) + 1) / r."""
    matrix, g = parameter(10, 6), gradients(10, 6)[0]
    optimizer, number = made(matrix), 4000
    found = []
    for cycle in range(number):
        P = optimizer.projection(matrix, 4, cycle)
        found.append(g @ P @ P.T)
    drawn = torch.stack(found)
    error = drawn.std(dim=0) / number**0.5
    assert ((drawn.mean(dim=0) - g).abs() < 4 * error).all()
    squares = (drawn - g).square().sum(dim=(1, 2)) / g.square().sum()
    assert squares.mean() == pytest.approx(7 / 4, rel=0.05)


def test_a_projection_follows_from_seed_matrix_and_cycle():
    one, other = parameter(10, 6), parameter(6, 10)
    optimizer = Flora([one, other], lr=0.01, rank=4, kappa=5, seed=3)
    P = optimizer.projection(one, 4, 0)
    assert P.shape == optimizer.projection(other, 4, 0).shape == (6, 4)
    assert torch.equal(P, Flora([one], lr=0.1, rank=4, kappa=5, seed=3).projection(one, 4, 0))
    for changed in (
        optimizer.projection(other, 4, 0),
        optimizer.projection(one, 4, 1),
        made(one, seed=4).projection(one, 4, 0),
    ):
        assert not torch.equal(P, changed)


@pytest.mark.parametrize(("m", "n"), [(10, 6), (6, 10)])
def test_without_loss_it_is_adafactor_with_momentum(monkeypatch, m, n):
    """P orthogonal, and the same in all cycles."""
    turn, _ = torch.linalg.qr(torch.randn(6, 6, generator=torch.Generator().manual_seed(2)))
    monkeypatch.setattr(Flora, "projection", lambda *_: turn)
    matrix, steps = parameter(m, n), gradients(m, n)
    expected, momentum = matrix.detach().clone(), torch.zeros(m, n)
    state = {"rows": torch.zeros(m), "columns": torch.zeros(n)}
    for number, gradient in enumerate(steps, start=1):
        momentum = 0.9 * momentum + 0.1 * gradient
        direction = adafactor_direction(momentum, state | {"step": torch.tensor(number)})
        expected -= 0.01 * direction
    found = run(made(matrix, rank=6, kappa=2), matrix, steps)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)  # float32, values of size 1


def test_adafactor_is_that_of_torch():
    """Of a first step with clipping, whose decay and size are the same in torch's."""
    matrix = parameter(10, 6)
    twin = nn.Parameter(matrix.detach().clone())
    reference = torch.optim.Adafactor([twin], lr=0.01, weight_decay=0.0)
    state = {"rows": torch.zeros(10), "columns": torch.zeros(6)}
    before = twin.detach().clone()
    for number, gradient in enumerate(gradients(10, 6), start=1):
        twin.grad = gradient
        start = twin.detach().clone()
        reference.step()
        # torch's rate: times the weight's root mean square, at most 1 / sqrt(t)
        rate = min(0.01, number**-0.5) * start.square().mean().sqrt().clamp(min=1e-3)
        found = adafactor_direction(gradient, state | {"step": torch.tensor(float(number))})
        torch.testing.assert_close(start - rate * found, twin.detach(), rtol=1e-4, atol=1e-5)
    assert not torch.equal(before, twin)


def test_the_state_is_small_and_has_no_projection():
    matrix, other = parameter(10, 6), nn.Parameter(torch.zeros(5))
    optimizer = Flora([matrix], [other], lr=0.01, rank=4, kappa=1000, seed=0)
    other.grad = torch.ones(5)
    run(optimizer, matrix, gradients(10, 6))
    own = {k: v.numel() for k, v in optimizer.state[matrix].items()}
    assert own == {"step": 1, "momentum": 4 * 10, "rows": 10, "columns": 6}
    assert optimizer.state[other]["exp_avg"].shape == (5,)
    torch.testing.assert_close(other.detach(), torch.full((5,), -0.06), rtol=1e-3, atol=0)


def test_projected_sums_are_sums_of_projections():
    matrix, steps = parameter(10, 6), gradients(10, 6)
    P = made(matrix).projection(matrix, 4, 0)
    whole = torch.stack(steps).sum(dim=0) @ P
    torch.testing.assert_close(sum(g @ P for g in steps), whole, rtol=1e-5, atol=1e-5)


def test_momentum_goes_over_to_a_new_projection():
    """M P^T P' in the mean over P' is M P^T; the old one is left."""
    matrix, steps = parameter(10, 6), gradients(10, 6)
    optimizer = made(matrix, kappa=2)
    run(optimizer, matrix, steps[:2])
    M = optimizer.state[matrix]["momentum"].clone()
    old, new = (optimizer.projection(matrix, 4, cycle) for cycle in (0, 1))
    run(optimizer, matrix, steps[2:3])
    expected = 0.9 * M @ old.T @ new + 0.1 * steps[2] @ new
    torch.testing.assert_close(optimizer.state[matrix]["momentum"], expected)
    drawn = [made(matrix, seed=seed).projection(matrix, 4, 1) for seed in range(2000)]
    back = torch.stack([M @ old.T @ P @ P.T for P in drawn])
    error = back.std(dim=0) / 2000**0.5
    assert ((back.mean(dim=0) - M @ old.T).abs() < 4.5 * error).all()
