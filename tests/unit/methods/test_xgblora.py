"""XGBLoRA: what each booster moves, and what it finds."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from lorasb.methods.peft.moved_start import lora_layers
from lorasb.methods.registry import make_method
from lorasb.methods.xgblora_boosting import Boosting, chosen, factors
from lorasb.training.run import Outcome
from tests.contract.test_methods import LLAMA_TARGETS, RANK, context, inputs, logits
from tests.unit.tiny import tiny_llama
from tests.unit.training import test_rates as bert

OPTIONS = {"r": "rank", "lora_alpha": "rank"}
STEPS = 8  # of 4 boosters


class Run:
    """Training by hand, with the calls of the loop around each step."""

    def __init__(self, folder: Path, share: float = 1.0) -> None:
        self.method = make_method("xgblora", {"options": OPTIONS, "share": share})
        model = tiny_llama(0)
        self.model = self.method.attach(model, context(model, LLAMA_TARGETS, folder))
        (self.hook,) = self.method.hooks(self.model)
        assert isinstance(self.hook, Boosting)
        self.optimizer = self.method.optimizer(self.model, 1e-2, 0.1)
        self.layers = lora_layers(self.model)

    def step(self, number: int) -> None:
        told: Any = {
            "args": SimpleNamespace(seed=5),
            "state": SimpleNamespace(global_step=number, max_steps=STEPS),
            "control": None,
            "optimizer": self.optimizer,
        }
        self.hook.on_step_begin(**told)
        self.model(**inputs(), labels=inputs()["input_ids"]).loss.backward()
        self.hook.on_pre_optimizer_step(**told)
        self.optimizer.step()
        self.hook.on_optimizer_step(**told)
        self.optimizer.zero_grad()

    def values(self) -> dict[str, list[torch.Tensor]]:
        return {
            name: [f.detach().clone() for f in factors(one)] for name, one in self.layers.items()
        }


def test_a_booster_moves_its_rank_alone_whatever_the_weight_decay(tmp_path):
    run = Run(tmp_path)
    for number in range(STEPS):
        before = run.values()
        run.step(number)
        booster = number // 2
        for name, (A, B) in run.values().items():
            moved_rows = (before[name][0] != A).any(dim=1)
            moved_columns = (before[name][1] != B).any(dim=0)
            # at b = 0, the gradient of a is 0; weight decay moves it
            assert moved_rows.nonzero().flatten().tolist() == [booster]
            assert moved_columns.nonzero().flatten().tolist() == [booster]
            assert torch.linalg.matrix_rank(B @ A) == booster + 1


def test_a_new_booster_starts_at_the_output_of_the_last_with_new_moments(tmp_path):
    run = Run(tmp_path)
    for number in range(2):
        run.step(number)
    A, B = factors(run.layers["model.layers.0.self_attn.q_proj"])
    assert run.optimizer.state[B]["step"] == 2
    assert not B[:, 1:].any()  # so the next one adds nothing before it has moved
    before = logits(run.model)
    run.hook.booster = 1
    assert torch.equal(logits(run.model), before)
    run.step(2)
    assert run.optimizer.state[B]["step"] == run.optimizer.state[A]["step"] == 1
    assert not run.optimizer.state[B]["exp_avg"][:, 0].any()


def test_weights_that_are_not_chosen_keep_their_bits(tmp_path):
    run = Run(tmp_path, share=0.5)
    before = run.values()
    run.step(0)
    moved = {name for name, (_, B) in run.values().items() if not torch.equal(B, before[name][1])}
    assert moved == run.hook.chosen
    assert len(moved) == 3  # of six
    for name in before.keys() - moved:
        assert all(torch.equal(a, b) for a, b in zip(before[name], run.values()[name], strict=True))


def test_the_choice_follows_from_seed_and_booster_and_is_even():
    names = [str(number) for number in range(6)]
    assert chosen(names, 0.5, 1, 0) == chosen(names, 0.5, 1, 0)
    assert chosen(names, 0.01, 1, 0) <= set(names)
    times = Counter(name for booster in range(600) for name in chosen(names, 0.5, 1, booster))
    # 600 draws at 1/2: three standard errors
    assert all(abs(times[name] - 300) < 3 * 150**0.5 for name in names)


def bert_run(method: Any, folder: Path, patch: pytest.MonkeyPatch) -> Outcome:
    patch.setattr(bert, "small", lambda _: method)
    return bert.run("xgblora", folder, {})


def test_one_booster_is_lora_of_rank_one_bit_for_bit(tmp_path, monkeypatch):
    one = {"r": 1, "lora_alpha": "rank"}
    # the cell's rank stands in alpha alone, which is refused for users
    monkeypatch.setattr("lorasb.methods.peft.options.takes_rank", lambda _: True)
    lora = make_method("peft", {"config": "LoraConfig", "options": one, "counts": "lora"})
    boosted = make_method("xgblora", {"options": one})
    expected = bert_run(lora, tmp_path / "lora", monkeypatch).snapshots
    found = bert_run(boosted, tmp_path / "boosted", monkeypatch).snapshots
    assert all(torch.equal(found[key], value) for key, value in expected.items())


def test_boosters_deflate_a_matrix_as_a_greedy_fit_does(tmp_path):
    """min |M - sum b a|^2: after each booster what is left has lost its largest direction."""
    run = Run(tmp_path)
    layer = run.layers["model.layers.0.self_attn.q_proj"]
    random = torch.Generator().manual_seed(1)
    left, _ = torch.linalg.qr(torch.randn(16, 16, generator=random))
    target = left * torch.tensor([8.0, 4.0, 2.0, 1.0] + 12 * [0.0])
    A, B = factors(layer)
    optimizer = torch.optim.SGD([A, B], lr=0.02)
    for booster in range(RANK):
        run.hook.booster = booster
        for _ in range(2000):
            optimizer.zero_grad()
            (B @ A - target).square().sum().div(2).backward()
            optimizer.step()
        rest = torch.linalg.svdvals((target - B @ A).detach())
        expected = torch.tensor([8.0, 4.0, 2.0, 1.0])[booster + 1 :]
        # gradient descent has not quite arrived
        torch.testing.assert_close(rest[: len(expected)], expected, rtol=0, atol=0.05)
