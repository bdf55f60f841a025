"""Training with compiled blocks: the same numbers to rounding, and nothing left behind."""

from __future__ import annotations

import shutil
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from torch._dynamo.utils import counters
from transformers import PreTrainedModel, TrainerCallback

from lorasb.errors import UserError
from lorasb.methods.registry import make_variant
from lorasb.training.compiled import compiled_blocks
from lorasb.training.epochs import EpochPredictions
from lorasb.training.loop import train
from lorasb.training.run import Outcome, Plan
from tests.contract.test_methods import context
from tests.unit.killed import KillAt, KilledError
from tests.unit.tiny import LLAMA_TARGETS, sequences, tiny_llama
from tests.unit.training.test_loop import SETTINGS, Toy

LENGTHS = [9, 5, 7, 6, 8]
STEPS = 6
needs_compiler = pytest.mark.skipif(not shutil.which("g++"), reason="torch needs a C++ compiler")


def collate(batch: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
    ids = torch.stack([row["input_ids"] for row in batch])
    return {"input_ids": ids, "labels": ids}


def run(
    folder: Path, *callbacks: TrainerCallback, compiled: bool = True
) -> tuple[PreTrainedModel, Outcome]:
    """Of LoRA-SB on batches of two rows, of another length at each of the first steps."""
    rows = [{"input_ids": ids} for ids in sequences(0, [n for n in LENGTHS for _ in range(2)])]
    method, network = make_variant("lora-sb").method, tiny_llama(0)
    folder.mkdir(exist_ok=True)
    changes = {"compile": compiled, "batch_size": 2, "gradient_accumulation": 1}
    plan = Plan(
        settings=SETTINGS | changes | {"checkpoint_steps": 2},
        steps=STEPS,
        learning_rate=1e-2,
        seed=5,
        order=[index % len(rows) for index in range(STEPS * 2)],
        snapshot_steps=[STEPS],
        checkpoints=folder / "checkpoints",
    )
    model = method.attach(network, context(network, LLAMA_TARGETS, folder))
    return network, train(model, method, rows, collate, plan, callbacks=callbacks)


class Compiled(TrainerCallback):
    """Notes whether a model's blocks are compiled when training begins."""

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.blocks = [is_compiled(block) for block in blocks(kwargs["model"])]


def blocks(model: torch.nn.Module) -> list[torch.nn.Module]:
    return [module for module in model.modules() if type(module).__name__ == "LlamaDecoderLayer"]


def is_compiled(module: torch.nn.Module) -> bool:
    return module._compiled_call_impl is not None


@needs_compiler
def test_losses_are_those_of_a_run_that_is_not_compiled(tmp_path):
    noted = Compiled()
    network, found = run(tmp_path / "compiled", noted)
    _, expected = run(tmp_path / "plain", compiled=False)
    assert noted.blocks == [True, True]
    losses = [[row["loss"] for row in outcome.log] for outcome in (found, expected)]
    # float32 in another order, over six steps
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
    assert not any(map(is_compiled, blocks(network)))


@needs_compiler
def test_predictions_in_between_compile_nothing(tmp_path):
    made: list[int] = []

    def predict(network: torch.nn.Module) -> tuple[list[Any], dict[str, float]]:
        before = counters["stats"]["unique_graphs"]
        with torch.no_grad():
            network(input_ids=torch.ones(3, 4, dtype=torch.long), use_cache=True)
        made.append(counters["stats"]["unique_graphs"] - before)
        return [], {}

    run(tmp_path, EpochPredictions([2, 4], tmp_path, predict, nullcontext))
    assert made == [0, 0]


@needs_compiler
def test_continued_run_ends_in_the_same_bits(tmp_path):
    _, expected = run(tmp_path / "whole")
    with pytest.raises(KilledError):
        run(tmp_path / "cut", KillAt(3))
    _, found = run(tmp_path / "cut")
    assert found.log == expected.log
    for key, value in expected.snapshots.items():
        assert torch.equal(found.snapshots[key], value), key


def test_all_is_undone_after_an_error():
    network = tiny_llama(0)
    with pytest.raises(RuntimeError, match="stop"), compiled_blocks(network):
        assert all(map(is_compiled, blocks(network)))
        raise RuntimeError("stop")
    assert not any(map(is_compiled, blocks(network)))


def test_a_model_without_equal_blocks_is_refused():
    with (
        pytest.raises(UserError, match=r"training.compile: Toy has no list of blocks of one kind"),
        compiled_blocks(Toy()),
    ):
        pass


def test_a_machine_without_a_compiler_is_told_so(tmp_path):
    network = tiny_llama(0)
    torch.compiler.reset()
    absent = torch._inductor.config.patch({"cpp.cxx": (str(tmp_path / "g++"),)})
    message = r"^training.compile: torch cannot compile here \(.*\); install a C\+\+ compiler, or"
    with absent, pytest.raises(UserError, match=message), compiled_blocks(network):
        network(input_ids=torch.ones(2, 7, dtype=torch.long))
