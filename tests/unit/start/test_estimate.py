"""Factors straight from samples, against the gradients' own; several processes; checkpointing."""

from __future__ import annotations

import multiprocessing
import weakref
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import Tensor
from transformers.modeling_layers import GradientCheckpointingLayer

from lorasb.errors import UserError
from lorasb.linalg.svd import Factors
from lorasb.models.layers import Linear
from lorasb.start import factors as start_factors
from lorasb.start.estimate import estimate_factors
from lorasb.start.factors import factorize
from lorasb.start.gradients import estimate_gradients
from tests.unit.start.test_gradients import batches
from tests.unit.start.test_losses import KINDS
from tests.unit.tiny import BERT_TARGETS, GPT2_TARGETS, LLAMA_TARGETS, tiny_bert, tiny_gpt2
from tests.unit.tiny import tiny_llama as llama

LABELS = torch.tensor([0, 1, 1, 0, 1])
MODELS = {
    "llama": (llama, LLAMA_TARGETS, None),
    "gpt2": (tiny_gpt2, GPT2_TARGETS, None),  # whose weights are (in, out)
    "bert": (tiny_bert, BERT_TARGETS, LABELS),
    "tied output": (llama, ["q_proj", "lm_head"], None),
}
LIMIT = 8192  # bytes: a few weights at a time
PROCESSES = 2


def equal(one: Factors, other: Factors) -> bool:
    pairs = ((one.U, other.U), (one.S, other.S), (one.V, other.V))
    return one.residual == other.residual and all(torch.equal(a, b) for a, b in pairs)


@pytest.mark.parametrize("kind", MODELS)
def test_factors_are_those_of_the_gradients(kind):
    make, targets, labels = MODELS[kind]
    options = {"target_modules": targets, "num_samples": 5}
    gradients = estimate_gradients(make(0), batches(2, labels), **options)
    expected = factorize(gradients, 3, step="adam")
    found = estimate_factors(
        make(0), batches(2, labels), rank=3, step="adam", memory_limit_bytes=LIMIT, **options
    )
    assert list(found) == list(expected)
    assert all(equal(found[name], expected[name]) for name in found)


def test_a_gradient_is_freed_before_the_next_comes(monkeypatch):
    alive: weakref.WeakSet[Tensor] = weakref.WeakSet()
    taken = start_factors._SVDS["converged"]

    def watched(matrices: list[Tensor], rank: int, **options: Any) -> list[Factors]:
        assert not alive
        alive.update(matrices)
        return taken(matrices, rank, **options)

    monkeypatch.setitem(start_factors._SVDS, "converged", watched)
    monkeypatch.setitem(start_factors._STEPS, "sign", lambda gradient: gradient)
    found = estimate_factors(
        llama(0), batches(5), rank=2, target_modules=LLAMA_TARGETS, num_samples=5
    )
    assert found
    assert not alive


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rank": 17}, r"layers\.0\.self_attn\.q_proj: r is 17; the largest rank here is 16"),
        ({"step": "signs"}, "step 'signs': unknown"),
        ({"svd": "exact"}, "svd 'exact': unknown"),
        ({"memory_limit_bytes": 1000}, "memory_limit_bytes 1000: the gradient of"),
        ({"target_modules": ["lm_heads"]}, "lm_heads"),
    ],
)
def test_what_does_not_fit_is_told_before_anything_runs(options, message):
    model, forwards = llama(0), []
    model.register_forward_hook(lambda *_: forwards.append(1))
    given = {"rank": 2, "target_modules": LLAMA_TARGETS, "num_samples": 5} | options
    with pytest.raises(UserError, match=message):
        estimate_factors(model, batches(5), **given)
    assert not forwards


def layers_of(model: torch.nn.Module) -> list[GradientCheckpointingLayer]:
    return [layer for layer in model.modules() if isinstance(layer, GradientCheckpointingLayer)]


@pytest.mark.parametrize("dropout", [False, True])
@pytest.mark.parametrize("reentrant", [False, True])
@pytest.mark.parametrize("kind", ["llama", "gpt2", "bert", "bart"])
def test_checkpointed_layers_run_again_and_change_nothing(kind, reentrant, dropout):
    if kind in MODELS:
        maker, targets, labels = MODELS[kind]
        make, (batch,) = (lambda: maker(0)), batches(5, labels)
    else:
        make, targets, batch = KINDS["seq2seq, as long as its input"]
    options = {"target_modules": targets, "num_samples": 5, "dropout": dropout}
    plain, model = make(), make()
    for layer in layers_of(plain) + layers_of(model):
        if hasattr(layer, "dropout"):  # a layer that drops by itself, if it is in training
            layer.dropout = 0.5
    expected = estimate_gradients(plain, [batch], **options)
    model.gradient_checkpointing_enable({"use_reentrant": reentrant})
    layers, forwards, runs = layers_of(model), [], []
    functions = [layer._gradient_checkpointing_func for layer in layers]
    model.register_forward_hook(lambda *_: forwards.append(1))
    for layer in layers:
        first = next(module for module in layer.modules() if isinstance(module, Linear))
        first.register_forward_hook(lambda *_: runs.append(1))
    found = estimate_gradients(model, [batch], **options)
    assert all(torch.equal(found[name], value) for name, value in expected.items())
    backwards = 5 if kind == "bart" else 1  # whose loss is asked of each sample
    assert len(runs) == len(layers) * (len(forwards) + backwards)
    assert [layer._gradient_checkpointing_func for layer in layers] == functions
    assert not any(layer.training for layer in layers)


def options_of_runs() -> list[dict[str, Any]]:
    """Shares of rows, of whole batches, and none for one of the processes."""
    return [
        {"num_samples": 5},
        {"num_samples": 5, "reduction": "batch-mean"},
        {"num_samples": 1, "memory_limit_bytes": LIMIT},
    ]


def gradients_of_all() -> list[dict[str, Tensor]]:
    return [
        estimate_gradients(llama(0), batches(2), target_modules=LLAMA_TARGETS, **options)
        for options in options_of_runs()
    ]


def run_process(rank: int, folder: Path) -> None:
    torch.set_num_threads(1)
    meeting = f"file://{folder}/meeting"
    dist.init_process_group("gloo", init_method=meeting, rank=rank, world_size=PROCESSES)
    torch.save(gradients_of_all(), folder / f"{rank}.pt")
    dist.destroy_process_group()


def test_processes_share_the_samples_and_agree(tmp_path):
    context = multiprocessing.get_context("spawn")
    processes = [
        context.Process(target=run_process, args=(rank, tmp_path)) for rank in range(PROCESSES)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
        assert process.exitcode == 0
    first, second = (torch.load(tmp_path / f"{rank}.pt") for rank in range(PROCESSES))
    for alone, one, other in zip(gradients_of_all(), first, second, strict=True):
        assert alone.keys() == one.keys() == other.keys()
        for name, value in alone.items():
            assert torch.equal(one[name], other[name])
            # the same terms in another order, float32, and other padding
            torch.testing.assert_close(
                one[name], value, rtol=0, atol=1e-5 * value.abs().max().item()
            )


@pytest.mark.parametrize("room", [255, 10**6])  # for matrices of 128 to 384 numbers
@pytest.mark.parametrize("limit", [LIMIT, None])
def test_matrices_of_one_shape_go_in_stacks(room, limit, monkeypatch):
    options = {"target_modules": LLAMA_TARGETS, "num_samples": 5, "rank": 3}
    alone = estimate_factors(llama(0), batches(5), memory_limit_bytes=limit, **options)
    monkeypatch.setattr(start_factors, "_room", lambda _: room)
    sizes, taken = [], start_factors._SVDS["converged"]

    def counted(matrices: list[Tensor], rank: int, **options: Any) -> list[Factors]:
        sizes.append(len(matrices))
        assert len({matrix.shape for matrix in matrices}) == 1
        assert len(matrices) == 1 or sum(matrix.numel() for matrix in matrices) <= room
        return taken(matrices, rank, **options)

    monkeypatch.setitem(start_factors._SVDS, "converged", counted)
    found = estimate_factors(llama(0), batches(5), memory_limit_bytes=limit, **options)
    assert list(found) == list(alone)
    assert sum(sizes) == len(alone)
    assert (max(sizes) > 1) == (room > 255)
    for name, factors in found.items():
        # float64 until it is rounded to float32
        torch.testing.assert_close(factors.S, alone[name].S, rtol=1e-6, atol=1e-6)
        torch.testing.assert_close(factors.U, alone[name].U, rtol=0, atol=1e-5)
        torch.testing.assert_close(factors.V, alone[name].V, rtol=0, atol=1e-5)
