"""Updates against full fine-tuning's: one row each, and the control that they share."""

from __future__ import annotations

import math

import pytest
import torch

from lorasb.linalg.measures import Control, RandomBases, cosine
from lorasb.probes.updates import COLUMNS, Reference, Updates, compare
from lorasb.study.cells import Cell

CELL = Cell("s", "m", "t", "v", 3, "1e-2", 0, "test")


def matrix(seed: int, shape: tuple[int, int] = (20, 12)) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def random_bases(draws: int) -> RandomBases:
    return RandomBases(draws, torch.Generator().manual_seed(0))


def reference(updates: Updates, draws: int) -> Reference:
    return Reference(updates, random_bases(draws))


def test_one_row_a_step_and_weight():
    full = {1: {"a": matrix(0), "b": matrix(1)}, 5: {"a": matrix(2), "b": matrix(3)}}
    rows = compare(CELL, full, reference(full, draws=4))
    assert [(row["step"], row["module"]) for row in rows] == [
        (1, "a"),
        (1, "b"),
        (5, "a"),
        (5, "b"),
    ]
    for row in rows:
        assert list(row) == COLUMNS
        assert row["cosine"] == pytest.approx(1)
        assert row["random_low"] <= row["random"] <= row["random_high"] < row["best_rank"] < 1
        assert row["update_norm"] == row["full_norm"] > 0
        # the same matrix, once in float32
        assert row["update_effective_rank"] == pytest.approx(row["full_effective_rank"], rel=1e-5)


def test_each_update_is_compared_with_that_of_its_step_and_weight():
    full = {1: {"a": matrix(0), "b": matrix(1)}, 5: {"a": matrix(2), "b": matrix(3)}}
    own = {1: {"a": matrix(4), "b": matrix(5)}, 5: {"a": matrix(6), "b": matrix(7)}}
    found = reference(full, draws=4)
    for row in compare(CELL, own, found):
        step, name = row["step"], row["module"]
        assert row["cosine"] == cosine(own[step][name], full[step][name])
        assert row["full_norm"] == full[step][name].norm().item()
        assert row["random"] == found.control(CELL.rank, step, name).mean


def test_weights_that_did_not_move_have_no_direction():
    still = {0: {"a": torch.zeros(20, 12)}}
    (row,) = compare(CELL, {0: {"a": matrix(0)}}, reference(still, draws=2))
    assert all(math.isnan(row[name]) for name in ("cosine", "random", "best_rank"))
    assert row["update_norm"] > 0


def test_one_control_a_rank():
    found = reference({1: {"a": matrix(0)}}, draws=2)
    controls = {rank: found.control(rank, 1, "a") for rank in (3, 5)}
    assert all(isinstance(control, Control) for control in controls.values())
    assert controls[3].mean < controls[5].mean
    # all cells of a rank are held against the same numbers
    assert found.control(3, 1, "a") is controls[3]


def test_control_of_an_update_is_that_of_a_gradient_on_the_same_bases():
    """Whichever is asked for first, and whatever other ranks are."""
    update, gradient = matrix(0), matrix(1)
    first, second = random_bases(4), random_bases(4)
    expected = first.control(update, 3), first.control(gradient, 3)
    assert expected[0] != expected[1]
    found = second.control(gradient, 3)
    asked = Reference({1: {"a": update}}, second)
    asked.control(5, 1, "a")
    assert (asked.control(3, 1, "a"), found) == expected
