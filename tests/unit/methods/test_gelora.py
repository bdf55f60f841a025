"""GeLoRA: the intrinsic dimension, the ranks that follow from it, and LoRA with them."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from lorasb.errors import UserError
from lorasb.methods import gelora
from lorasb.methods.gelora import blocks_of, intrinsic_dimension, ranks
from lorasb.methods.peft.moved_start import lora_layers
from tests.contract.test_methods import RANK, attached

SKDIM = 5.430444646310561


def cube(dimension: int, points: int = 2000, width: int = 50, seed: int = 11) -> Tensor:
    """Uniform points of a cube, rotated into a space of so many dimensions; float64."""
    random = torch.Generator().manual_seed(seed)
    inside = torch.rand(points, dimension, generator=random).double()
    turned, _ = torch.linalg.qr(torch.randn(width, dimension, generator=random).double())
    return inside @ turned.T


@pytest.mark.parametrize("dimension", [2, 5, 9])
def test_the_dimension_of_a_cube_is_found(dimension):
    # a cube's borders take away the more the more there are: up to a fifth at 9
    assert intrinsic_dimension(cube(dimension)) == pytest.approx(dimension, rel=0.2)


def test_the_dimension_is_that_of_scikit_dimension():
    """`skdim.id.TwoNN().fit(X).dimension_` of scikit-dimension 0.5.0 for these points."""
    assert intrinsic_dimension(cube(5, 300, 20)) == pytest.approx(SKDIM, rel=1e-6)


def test_the_dimension_is_that_of_the_shape():
    points = cube(5, 400)
    expected = intrinsic_dimension(points)
    turn, _ = torch.linalg.qr(torch.randn(50, 50, generator=torch.Generator().manual_seed(1)))
    order = torch.randperm(400, generator=torch.Generator().manual_seed(2))
    for same in (points @ turn.double(), 7 * points, points + 3, points[order]):
        # distances of float64 numbers, rounded
        assert intrinsic_dimension(same) == pytest.approx(expected, rel=1e-6)
    # a map of full column rank stretches some directions, which leaves the dimension nearly
    wide = torch.randn(50, 80, generator=torch.Generator().manual_seed(3)).double()
    assert intrinsic_dimension(points @ wide) == pytest.approx(expected, rel=0.1)
    twins = torch.cat([points, points[:1], points[:1]])
    assert intrinsic_dimension(twins) == pytest.approx(expected, rel=0.02)  # one point fewer
    assert intrinsic_dimension(cube(5, 2000, 5)[:, :2]) < 2.2
    with pytest.raises(UserError, match="0 states differ; ask for more samples"):
        intrinsic_dimension(torch.ones(50, 3))


def test_ranks_follow_the_gains_and_keep_the_budget():
    # what the paper has where it fits the budget
    assert ranks([3, 0, 1, 0], 2) == [4, 1, 2, 1]
    assert ranks([0, 0, 0], 5) == ranks([2, 2, 2], 5) == [5, 5, 5]
    assert ranks([9, 0, 5], 1) == [1, 1, 1]
    for gains in ([0, 1, 3], [7, 0, 2], [1, 2, 4]):
        for rank in range(1, 9):
            found = ranks(gains, rank)
            assert sum(found) == 3 * rank
            assert min(found) >= 1
            assert [found[i] for i in sorted(range(3), key=gains.__getitem__)] == sorted(found)


def test_blocks_share_a_budget_if_they_are_alike():
    assert blocks_of({"b.1.v": (4, 6), "b.0.v": (4, 6)}, 2) == {0: ["b.0.v"], 1: ["b.1.v"]}
    for shapes in ({"pooler.dense": (4, 4)}, {"b.2.v": (4, 4)}, {"b.0.v": (4, 6), "b.1.v": (4, 4)}):
        with pytest.raises(UserError, match="share a budget"):
            blocks_of(shapes, 2)


def test_each_block_has_its_rank_and_all_the_same_scaling(tmp_path, monkeypatch):
    monkeypatch.setattr(gelora, "intrinsic_dimension", lambda state: float(state[0, 0]))
    monkeypatch.setattr("lorasb.start.activations.load_activations", Loaded([3.0, 3.2, 6.4]))
    _, model, _ = attached("gelora", tmp_path)
    layers = lora_layers(model)
    found = {name: layer.lora_A["default"].weight.shape[0] for name, layer in layers.items()}
    expected = {name: 1 if ".0." in name else 2 * RANK - 1 for name in layers}
    assert found == expected
    assert {layer.scaling["default"] for layer in layers.values()} == {1.0}


def test_equal_ranks_are_lora_bit_for_bit(tmp_path, monkeypatch):
    monkeypatch.setattr(gelora, "intrinsic_dimension", lambda _: 4.0)
    found = attached("gelora", tmp_path)[1].state_dict()
    for name, value in attached("lora", tmp_path)[1].state_dict().items():
        assert torch.equal(found[name], value)


class Loaded:
    """Stands for activations whose states have these numbers."""

    def __init__(self, numbers: list[float]) -> None:
        self.states = torch.tensor(numbers)[:, None, None]

    def __call__(self, _: object) -> Loaded:
        return self
