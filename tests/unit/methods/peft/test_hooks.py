"""What tuners of PEFT need in training beside a gradient: budgets, directions, penalties."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from lorasb.methods.peft.hooks import Budget
from lorasb.methods.registry import make_variant
from lorasb.training.loop import train
from lorasb.training.run import Plan
from tests.contract.test_methods import context
from tests.unit.killed import KillAt
from tests.unit.tiny import BERT_TARGETS, tiny_bert
from tests.unit.training.test_loop import SETTINGS
from tests.unit.training.test_precision import collate, rows

STEPS, RANK = 10, 4
# the tiny encoder has two layers with three targets in each
WEIGHTS = 6


class Watch(KillAt):
    """Takes down how many ranks are left after each step."""

    def __init__(self, hook: Budget) -> None:
        self.hook, self.left, self.masked = hook, [], []

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.left.append(self.hook.budget if self.hook.pattern else None)
        layers = [m for m in kwargs["model"].modules() if hasattr(m, "ranknum")]
        self.masked.append(sum(int((m.lora_E["default"] == 0).sum()) for m in layers))


def run(variant: str, folder: Any, **changes: Any) -> tuple[Any, list[Any]]:
    method = make_variant(variant).method
    folder.mkdir(exist_ok=True)
    told = context(tiny_bert(0), BERT_TARGETS, folder, task_head=["classifier"], steps=STEPS)
    model = method.attach(tiny_bert(0), told)
    hooks = method.hooks(model)
    method.hooks = lambda _: hooks
    watch = [Watch(hook) for hook in hooks if isinstance(hook, Budget)]
    plan = Plan(
        settings=SETTINGS | {"scheduler": "constant", "warmup_ratio": 0.0} | changes,
        steps=STEPS,
        learning_rate=1e-2,
        seed=5,
        order=[index % 20 for index in range(STEPS * 8)],
        snapshot_steps=[],
        checkpoints=folder / "checkpoints",
    )
    outcome = train(model, method, rows(), collate, plan, callbacks=watch)
    return outcome, watch


def test_adalora_keeps_as_many_ranks_as_its_schedule_has(tmp_path):
    """From 1.5 times the rank to the rank by a cubic, between steps 1 and 7 of 10."""
    _, (watch,) = run("adalora", tmp_path)
    first, last = 6 * WEIGHTS, RANK * WEIGHTS
    cubic = [int((first - last) * (1 - (step - 1) / 6) ** 3 + last) for step in range(2, 8)]
    assert watch.left == [None, *cubic, last, last, last]
    assert watch.left[6] == last
    # what is masked contributes nothing; other ranks may pass through zero by chance, never do here
    assert watch.masked[1:] == [first - left for left in watch.left[1:]]


def test_without_the_hook_nothing_would_be_masked(tmp_path, monkeypatch):
    """So that the test above says something."""
    monkeypatch.setattr(Budget, "on_optimizer_step", lambda *_, **__: None)
    _, (watch,) = run("adalora", tmp_path)
    assert watch.masked[-1] == 0


@pytest.mark.parametrize("passes", [1, 2])
def test_a_penalty_counts_once_a_step(tmp_path, passes):
    """KaSA's first loss is the task's and its penalty, in however many passes."""
    method = make_variant("kasa").method
    told = context(tiny_bert(0), BERT_TARGETS, tmp_path, task_head=["classifier"])
    model = method.attach(tiny_bert(0, dropout=0.0), told)
    expected = method.penalty(model)
    # beta |d|^2 + gamma (|B^T B - I| + |A A^T - I|), with B = 0 at the start
    by_hand = torch.zeros(())
    for layer in (m for m in model.modules() if hasattr(m, "lora_diag")):
        A, d = layer.lora_A["default"].weight, layer.lora_diag["default"]
        identity = torch.eye(RANK)
        by_hand += 1e-4 * d.square().sum() + 1e-3 * (identity.norm() + (A @ A.T - identity).norm())
    torch.testing.assert_close(expected, by_hand)
    settings = {"batch_size": 8 // passes, "gradient_accumulation": passes}
    losses = {}
    for penalised in (True, False):
        if not penalised:
            method.penalty = lambda _: None
        model = method.attach(tiny_bert(0, dropout=0.0), told)
        plan = Plan(SETTINGS | settings, 1, 1e-2, 5, list(range(8)), [], tmp_path / str(penalised))
        losses[penalised] = train(model, method, rows(), collate, plan).log[0]["loss"]
    # losses are logged to float32, of size 1
    assert losses[True] - losses[False] == pytest.approx(expected.item(), abs=1e-6)


def test_a_loaded_direction_of_velora_is_not_drawn_again():
    method = make_variant("velora").method
    model = method.attach(tiny_bert(0), context_without_files())
    (hook,) = method.hooks(model)
    layers = [m for m in model.modules() if hasattr(m, "lora_velora_embed")]
    hook.on_train_begin(None, None, None)
    assert not any(layer.lora_velora_initialized["default"] for layer in layers)
    for layer in layers:
        layer.lora_velora_embed["default"].fill_(1.0)
    hook.on_train_begin(None, None, None)
    assert all(layer.lora_velora_initialized["default"] for layer in layers)


def context_without_files() -> Any:
    from lorasb.methods.method import Context

    return Context(RANK, 1e-3, "converged", 0, BERT_TARGETS, [], {}, STEPS)
