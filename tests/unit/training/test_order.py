from collections import Counter

import pytest
import torch

from lorasb.errors import UserError
from lorasb.training.order import CHUNK, batch_order

LENGTHS = [3 + (7 * index) % 50 for index in range(100)]


def order(seed: int, *, group: bool, steps: int = 40, rows: int = 8) -> list[int]:
    random = torch.Generator().manual_seed(seed)
    return batch_order(LENGTHS, steps, rows, random, group_by_length=group)


@pytest.mark.parametrize("group", [False, True])
def test_every_row_is_seen_equally_often(group):
    seen = Counter(order(0, group=group))
    assert sum(seen.values()) == 320
    # 320 draws of 100 rows: three whole passes and 20 rows a fourth time
    assert sorted(seen.values()) == [3] * 80 + [4] * 20


@pytest.mark.parametrize("group", [False, True])
def test_order_depends_on_the_seed_alone(group):
    assert order(1, group=group) == order(1, group=group)
    assert order(1, group=group) != order(2, group=group)


def test_grouping_lessens_padding():
    def padding(rows: list[int]) -> int:
        batches = [rows[i : i + 8] for i in range(0, len(rows), 8)]
        return sum(
            max(LENGTHS[row] for row in batch) * len(batch) - sum(LENGTHS[row] for row in batch)
            for batch in batches
        )

    # sorted within chunks of 80 rows, neighbours differ by about 50 / CHUNK tokens
    assert padding(order(0, group=True)) < padding(order(0, group=False)) / (CHUNK / 4)


def test_no_row_is_one_line():
    """And no endless search for one."""
    with pytest.raises(UserError, match="no training row"):
        batch_order([], 3, 2, torch.Generator(), group_by_length=False)


def test_global_random_state_is_left_alone():
    before = torch.random.get_rng_state()
    order(0, group=True)
    assert torch.equal(before, torch.random.get_rng_state())
