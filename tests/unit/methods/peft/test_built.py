"""Counts of tuners without a closed form, of weights that take no memory."""

from __future__ import annotations

import re
import time

import pytest

from lorasb.errors import UserError
from lorasb.methods import counts
from lorasb.methods.registry import make_method, make_variant

SHAPES = {"model.layers.0.q": (6, 4), "model.layers.1.q": (8, 12)}


def built(config: str, **options: object) -> object:
    return make_method("peft", {"config": config, "options": options, "counts": "built"})


@pytest.mark.parametrize("family", ["lora", "dora", "lora-pro"])
def test_what_is_built_has_the_closed_form(family):
    dora = {"use_dora": True} if family == "dora" else {}
    found = built("LoraConfig", r="rank", lora_alpha=1, **dora).count(SHAPES, 3, 0)
    expected = counts.family(family)(SHAPES, 3)
    assert (found.trainable, found.stored) == (expected.trainable, expected.stored)


def test_blocks_of_boft_have_the_closed_form():
    found = built("BOFTConfig", boft_block_size="rank").count(SHAPES, 4, 0)
    expected = counts.boft(SHAPES, 4)
    assert (found.trainable, found.stored) == (expected.trainable, expected.stored)
    with pytest.raises(UserError, match=r"rank 3: the blocks of 'model.layers.0.q' \(6 x 4\)"):
        counts.boft(SHAPES, 3)


@pytest.mark.parametrize(
    ("variant", "trained"),
    [
        # r and m numbers a weight
        ("vera", 2 * 3 + 6 + 8),
        # one matrix r x m a weight
        ("miss", 3 * (6 + 8)),
        ("hra", 3 * (4 + 12)),
        # two pairs
        ("loha", 2 * 3 * (10 + 20)),
        # a pair and its strength
        ("delora", 3 * (10 + 20) + 2),
        # an angle and a length for each pair of outputs
        ("road", 6 + 8),
        ("ia3", 6 + 8),
        ("fourierft", 2 * 3),
        ("waveft", 2 * 3),
        # one vector for all weights
        ("unilora", 3),
    ],
)
def test_numbers_that_papers_give(variant, trained):
    method = make_variant(variant).method
    if variant == "road":
        method.arguments["options"] |= {"group_size": 2}
    assert method.count(SHAPES, 3 if method.has_rank else 0, 0).trainable == trained


def test_weights_of_a_large_model_take_no_memory():
    shapes = {f"layers.{i}.q": (2**20, 2**20) for i in range(4)}  # 16 TB
    started = time.perf_counter()
    assert make_variant("ia3").method.count(shapes, 0, 0).trainable == 4 * 2**20
    assert time.perf_counter() - started < 30


@pytest.mark.parametrize(
    ("variant", "rank", "message"),
    [
        ("c3a", 5, "rank 5: .*block size should be a factor"),
        ("miss", 0, "a rank is at least 1"),
        ("vblora", 4, "rank 4: .*must be divisible by .*vector_length"),
    ],
)
def test_a_rank_that_a_tuner_does_not_take_is_one_line(variant, rank, message):
    with pytest.raises(UserError, match=message) as caught:
        make_variant(variant).method.count(SHAPES, rank, 0)
    assert not re.search("\n", str(caught.value))
