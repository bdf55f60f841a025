from __future__ import annotations

import pytest
import torch

from lorasb.errors import UserError
from lorasb.methods.lora_sb import LoraSB
from lorasb.methods.lora_sb_noise import NoisyLoraSB
from tests.contract.test_methods import LLAMA_TARGETS, context
from tests.unit.tiny import tiny_llama


def deltas(method: LoraSB, folder, seed: int = 0) -> list[torch.Tensor]:
    """The updates that a method starts with."""
    model = tiny_llama(0)
    adapted = method.attach(model, context(model, LLAMA_TARGETS, folder, seed=seed))
    return [
        m.get_delta_weight("default").detach() for m in adapted.modules() if hasattr(m, "lora_xs_R")
    ]


def distance(one: list[torch.Tensor], other: list[torch.Tensor]) -> float:
    """Relative to the second."""
    return (
        torch.cat([(a - b).flatten() for a, b in zip(one, other, strict=True)]).norm()
        / torch.cat([b.flatten() for b in other]).norm()
    ).item()


def test_without_noise_the_start_is_lora_sb(tmp_path):
    plain = deltas(LoraSB(), tmp_path)
    assert distance(deltas(NoisyLoraSB(signal=1.0, noise=0.0), tmp_path), plain) < 1e-5  # float32


def test_more_noise_is_further_from_lora_sb(tmp_path):
    plain = deltas(LoraSB(), tmp_path)
    apart = [
        distance(deltas(NoisyLoraSB(1.0, noise), tmp_path), plain) for noise in (0.1, 1.0, 10.0)
    ]
    assert apart == sorted(apart)
    assert apart[0] < 0.5
    assert apart[2] > 1.0


def test_random_bases_have_the_size_of_a_step_and_depend_on_the_seed(tmp_path):
    plain = deltas(LoraSB(), tmp_path)
    drawn = deltas(NoisyLoraSB(signal=0.0, noise=1.0), tmp_path)
    sizes = [delta.norm().item() for delta in drawn]
    # entries of variance 1 like those of a sign matrix; 4 of at least 8 directions
    assert sizes == pytest.approx([delta.norm().item() for delta in plain], rel=0.3)
    assert distance(deltas(NoisyLoraSB(0.0, 1.0), tmp_path), drawn) == 0.0
    assert distance(deltas(NoisyLoraSB(0.0, 1.0), tmp_path, seed=1), drawn) > 0.5


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: NoisyLoraSB(0.0, 0.0), "one above 0"),
        (lambda: NoisyLoraSB(1.0, -0.1), "noise -0.1"),
    ],
)
def test_arguments_that_make_no_sense(make, message):
    with pytest.raises(UserError, match=message):
        make()
