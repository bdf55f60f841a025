"""AdaLoRA (arXiv 2303.10512): scores by hand, the penalty, what a mask does."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from lorasb.methods.peft.hooks import Budget
from lorasb.methods.registry import make_variant
from tests.contract.test_methods import LLAMA_TARGETS, RANK, context, inputs, logits
from tests.unit.tiny import tiny_llama

BETA = 0.85  # of both recursions, PEFT's


class Run:
    """Training by hand, with the calls of the loop around each step, of 10."""

    def __init__(self, folder: Any, targets: list[str]) -> None:
        self.method = make_variant("adalora").method
        self.model = self.method.attach(tiny_llama(0), context(tiny_llama(0), targets, folder))
        (self.hook,) = self.method.hooks(self.model)
        assert isinstance(self.hook, Budget)
        self.optimizer = self.method.optimizer(self.model, 1e-2, 0.0)
        # as the allocator and its masks name them
        self.numbers = {
            name: value
            for name, value in self.model.base_model.model.named_parameters()
            if value.requires_grad
        }

    def step(self, number: int) -> dict[str, torch.Tensor]:
        """What the step says of each number, |p g|."""
        self.optimizer.zero_grad()
        self.model(**inputs(), labels=inputs()["input_ids"]).loss.backward()
        self.optimizer.step()
        found = {name: (p * p.grad).abs().detach() for name, p in self.numbers.items()}
        self.hook.on_optimizer_step(None, SimpleNamespace(global_step=number), None)
        return found


def test_scores_and_masks_are_those_of_the_recursions_by_hand(tmp_path):
    """I = b I + (1 - b) |p g|, U = b U + (1 - b) | |p g| - I |, of a rank by l, row and column."""
    run = Run(tmp_path, ["0.self_attn.q_proj", "0.mlp.down_proj"])
    smooth = {name: torch.zeros_like(p) for name, p in run.numbers.items()}
    unsure = {name: torch.zeros_like(p) for name, p in run.numbers.items()}
    for number in range(3):
        for name, now in run.step(number).items():
            smooth[name] = BETA * smooth[name] + (1 - BETA) * now
            unsure[name] = BETA * unsure[name] + (1 - BETA) * (now - smooth[name]).abs()
    allocator = run.model.base_model.rankallocator
    for name, value in smooth.items():
        found = allocator._element_score(name)
        # products of small numbers; float32
        torch.testing.assert_close(found, value * unsure[name], rtol=1e-4, atol=0)
    scores = {}
    for name in (name for name in smooth if "lora_E" in name):
        of = {
            letter: smooth[key] * unsure[key]
            for letter in "AEB"
            for key in [name.replace("lora_E", f"lora_{letter}")]
        }
        scores[name] = of["E"].flatten() + of["A"].mean(dim=1) + of["B"].mean(dim=0)
    lost = 2 * 6 - run.hook.budget
    assert 0 < lost < 2 * 2
    bound = torch.cat(list(scores.values())).sort().values[lost - 1]
    assert run.hook.pattern == {name: (score > bound).tolist() for name, score in scores.items()}


def test_a_masked_rank_adds_nothing_and_may_return(tmp_path):
    run = Run(tmp_path, LLAMA_TARGETS)
    for number in range(4):
        run.step(number)
    assert run.hook.pattern is not None
    gone = {name: ~torch.tensor(left) for name, left in run.hook.pattern.items()}
    assert any(mask.any() for mask in gone.values())
    before = logits(run.model)
    with torch.no_grad():
        for name, mask in gone.items():
            assert not run.numbers[name][mask].any()
            run.numbers[name.replace("lora_E", "lora_A")][mask] += 1.0
            run.numbers[name.replace("lora_E", "lora_B")][:, mask] += 1.0
    assert torch.equal(logits(run.model), before)
    # its l has a gradient, so that the next step moves it
    run.optimizer.zero_grad()
    run.model(**inputs(), labels=inputs()["input_ids"]).loss.backward()
    assert all(run.numbers[name].grad[mask].all() for name, mask in gone.items())


def test_the_mask_stays_once_the_budget_is_reached(tmp_path):
    run = Run(tmp_path, LLAMA_TARGETS)
    found = []
    for number in range(10):
        run.step(number)
        found.append(run.hook.pattern)
    # 3 of 10 steps at the end
    assert run.hook.budget == RANK * len(found[-1])
    assert found[6] == found[7] == found[8] == found[9]
    assert found[1] != found[6]


@pytest.mark.parametrize("orthonormal", [True, False])
def test_the_penalty_is_the_mean_distance_from_orthonormal_factors(tmp_path, orthonormal):
    """PEFT's: the norm of P^T P - I itself, whose gradient is 2 P (P^T P - I) over the norm."""
    # 6 ranks fit the smaller sides of the adapted weights, 8
    run = Run(tmp_path, LLAMA_TARGETS)
    factors = [p for name, p in run.numbers.items() if "lora_E" not in name]
    if orthonormal:
        with torch.no_grad():
            for p in factors:
                tall = p if p.shape[0] > p.shape[1] else p.T
                tall.copy_(torch.linalg.qr(tall)[0])
    found = run.method.penalty(run.model)
    grams = [p.T @ p if p.shape[0] > p.shape[1] else p @ p.T for p in factors]
    away = [(gram - torch.eye(6)).norm() for gram in grams]
    expected = 0.1 * sum(away) / len(away)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)
    assert (expected < 1e-5) == orthonormal
    # so that it counts once
    batch = inputs() | {"labels": inputs()["input_ids"]}
    torch.testing.assert_close(run.model(**batch).loss, tiny_llama(0)(**batch).loss)
    if not orthonormal:
        found.backward()
        for p, gram, norm in zip(factors, grams, away, strict=True):
            slope = 2 * (gram - torch.eye(6)) * 0.1 / (len(away) * norm)
            by_hand = p @ slope if p.shape[0] > p.shape[1] else slope @ p
            torch.testing.assert_close(p.grad, by_hand.detach(), rtol=1e-4, atol=1e-6)
