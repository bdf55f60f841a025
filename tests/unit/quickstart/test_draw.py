from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from lorasb.errors import UserError
from lorasb.quickstart.draw import check_split, pick, sample, split_of, stable_hash


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


def test_unknown_split() -> None:
    with pytest.raises(UserError, match=r"'validation'.*train, selection, test"):
        check_split("validation")
