"""The checks themselves: right problems pass, wrong formulas would not."""

from __future__ import annotations

import math

import pytest
import torch

from lorasb.claims import theorems
from lorasb.claims.theorems import RATE, Check, checks, problem, trained_change
from lorasb.seeding import generator

FAILS = "Training does not depend on s, so s needs no tuning (AdamW, which the paper trains with)."


@pytest.fixture(scope="module")
def found() -> list[Check]:
    return list(checks(generator(0, "theorems")))


def test_every_theorem_holds_and_scale_independence_does_not_under_adamw(found):
    assert [check.claim for check in found if not check.holds] == [FAILS]
    assert {check.source for check in found} == {
        *("Lemma 1", "Lemma 2", "Theorem 3", "Theorem 4", "Theorem 5", "Theorem 6"),
        "Initialisation",
    }


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_outcomes_do_not_depend_on_the_seed(found, seed):
    again = list(checks(generator(seed, "theorems")))
    assert [check.holds for check in again] == [check.holds for check in found]
    assert [check.value for check in again] != [check.value for check in found]


def test_range_of_a_check_is_closed_and_nan_is_outside():
    assert Check("", "", "", 1.0, low=1.0, high=1.0).holds
    assert not Check("", "", "", 1.1, high=1.0).holds
    assert not Check("", "", "", 0.9, low=1.0).holds
    assert not Check("", "", "", math.nan, high=1.0).holds


def test_gradient_of_the_problem_is_that_of_its_loss():
    given = problem(generator(0, "theorems"))
    W = given.W0.clone().requires_grad_(True)
    (automatic,) = torch.autograd.grad(given.loss(W), W)
    torch.testing.assert_close(given.gradient(given.W0), automatic)


def test_plain_sgd_without_the_correction_depends_on_the_scale():
    """What the check of Theorem 5 would find if the correction did nothing."""
    given = problem(generator(0, "theorems"))
    one, four = (
        trained_change(
            given, scale, lambda values: torch.optim.SGD(values, lr=RATE / 100), corrected=False
        )
        for scale in (1.0, 4.0)
    )
    assert (one - four).norm() > 0.1 * one.norm()


@pytest.mark.parametrize(
    ("function", "failing"),
    [
        ("best_step", {"Theorem 3", "Theorem 5"}),
        ("orthonormal", {"Lemma 1", "Theorem 3", "Theorem 5"}),
    ],
)
def test_wrong_formula_is_found(monkeypatch, function, failing):
    right = getattr(theorems, function)

    def wrong(*arguments):
        answer = right(*arguments)
        return tuple(2 * part for part in answer) if isinstance(answer, tuple) else 2 * answer

    monkeypatch.setattr(theorems, function, wrong)
    bad = {check.source for check in checks(generator(0, "theorems")) if not check.holds}
    assert bad == failing
