from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from lorasb.bundled.draw import SPLITS, draw_rows, pick, sample, split_of, stable_hash
from lorasb.errors import UserError


def test_stable_hash_does_not_change_between_versions() -> None:
    # the bundled model knows the facts that this value leads to
    assert stable_hash("bebu/home") == 0x6E614563D1E7D647


def test_shares_of_the_splits() -> None:
    shares = Counter(split_of(str(key)) for key in range(4000))
    # 4000 draws: three standard deviations of a share are at most 0.024
    assert shares["train"] / 4000 == pytest.approx(0.55, abs=0.024)
    assert shares["selection"] / 4000 == pytest.approx(0.15, abs=0.024)
    assert shares["test"] / 4000 == pytest.approx(0.30, abs=0.024)


def test_sample_has_distinct_elements_and_pick_reaches_all() -> None:
    rng = np.random.default_rng(0)
    assert all(len(set(sample(rng, "abcd", 3))) == 3 for _ in range(50))
    assert {pick(rng, "abcd") for _ in range(100)} == set("abcd")


def number(rng: np.random.Generator) -> tuple[str, dict[str, int]]:
    """One of 60 rows, keyed by its number."""
    value = int(rng.integers(60))
    return str(value), {"value": value}


def test_rows_of_selection_and_test_differ_and_those_of_training_may_repeat() -> None:
    allowed = {split: {n for n in range(60) if split_of(str(n)) == split} for split in SPLITS}
    for split in SPLITS:
        size = len(allowed[split])
        values = [row["value"] for row in draw_rows(size, np.random.default_rng(0), split, number)]
        assert len(values) == size
        assert set(values) <= allowed[split]
        assert (len(set(values)) == size) == (split != "train")


def test_split_without_enough_rows() -> None:
    with pytest.raises(UserError, match=r"'test' has only \d+ different rows, not 61"):
        draw_rows(61, np.random.default_rng(0), "test", number)


def test_unknown_split() -> None:
    with pytest.raises(UserError, match=r"'validation'.*train, selection, test"):
        draw_rows(1, np.random.default_rng(0), "validation", number)
