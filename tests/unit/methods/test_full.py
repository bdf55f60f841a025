"""Full fine-tuning of models in bfloat16: updates arrive, and what is saved is what was trained."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedModel

from lorasb.methods.full import Full
from lorasb.methods.method import Context

STEPS, RATE = 300, 1e-5
CONTEXT = Context(0, 0.0, "converged", 0, [], [], {})


def model() -> PreTrainedModel:
    """Weights of standard deviation 0.02, those of a usual start, in bfloat16."""
    config = LlamaConfig(
        vocab_size=40,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=1,
        num_attention_heads=2,
        initializer_range=0.02,
        tie_word_embeddings=True,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return LlamaForCausalLM(config).bfloat16()


def flat(network: torch.nn.Module) -> Tensor:
    return torch.cat([value.detach().float().flatten() for value in network.parameters()])


def change(network: PreTrainedModel, optimizer: torch.optim.Optimizer) -> Tensor:
    """How all weights change in 300 steps, as one vector."""
    before, random = flat(network), torch.Generator().manual_seed(1)
    for _ in range(STEPS):
        ids = torch.randint(1, 40, (4, 8), generator=random).repeat_interleave(2, dim=1)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            network(input_ids=ids, labels=ids).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    return flat(network) - before


@pytest.fixture(scope="module")
def expected() -> Tensor:
    """The change with everything in float32."""
    network = model().float()
    return change(network, torch.optim.AdamW(network.parameters(), lr=RATE, weight_decay=0.0))


def compared(found: Tensor, expected: Tensor) -> tuple[float, float, float]:
    """Ratio of norms, cosine, share of weights that moved."""
    norms = found.norm() * expected.norm()
    ratio = found.norm() / expected.norm()
    return ratio.item(), (found @ expected / norms).item(), (found != 0).float().mean().item()


def test_weights_held_in_bfloat16_lose_most_of_their_updates(expected):
    """What the rule is for: plain AdamW on the model as it is loaded."""
    network = model()
    found = change(network, torch.optim.AdamW(network.parameters(), lr=RATE, weight_decay=0.0))
    ratio, cosine, moved = compared(found, expected)
    assert ratio < 0.4
    assert cosine < 0.4
    assert moved < 0.25


def test_full_fine_tuning_of_a_bfloat16_model_is_that_of_float32(expected):
    method = Full()
    network = method.attach(model(), CONTEXT)
    found = change(network, method.optimizer(network, RATE, 0.0))
    assert {value.dtype for value in network.parameters()} == {torch.float32}
    # the same operations on the same numbers
    assert torch.equal(found, expected)


def test_a_kahan_sum_keeps_the_updates_of_bfloat16_weights(expected):
    method = Full(weights="base")
    network = method.attach(model(), CONTEXT)
    found = change(network, method.optimizer(network, RATE, 0.0))
    assert {value.dtype for value in network.parameters()} == {torch.bfloat16}
    ratio, cosine, moved = compared(found, expected)
    # gradients and moments have 8 bits, and what is left of the sum is not in the weights
    assert ratio == pytest.approx(1, abs=0.02)
    assert cosine > 0.95
    assert moved > 0.9


@pytest.mark.parametrize(
    ("weights", "dtype"), [("float32", torch.float32), ("base", torch.bfloat16)]
)
def test_the_saved_model_is_the_trained_one(tmp_path, weights, dtype):
    method = Full(weights=weights)
    network = method.attach(model(), CONTEXT)
    with torch.no_grad():
        for value in network.parameters():
            value.mul_(1 + 2**-12)  # nothing to bfloat16
    method.save(network, tmp_path)
    loaded = method.load(model(), tmp_path)
    assert {value.dtype for value in loaded.parameters()} == {dtype}
    assert torch.equal(flat(loaded), flat(network))
    assert torch.equal(flat(loaded), flat(model())) == (weights == "base")
