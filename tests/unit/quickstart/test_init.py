from __future__ import annotations

import pytest

from lorasb.errors import UserError
from lorasb.quickstart import FAMILIES, split_rows


def texts(family: str, split: str, seed: int) -> set[str]:
    return {row.get("question") or row["sentence"] for row in split_rows(family, split, 3200, seed)}


@pytest.mark.parametrize("family", FAMILIES)
def test_splits_do_not_overlap(family) -> None:
    splits = [texts(family, split, 0) for split in ("train", "selection", "test")]
    assert len(set().union(*splits)) == sum(map(len, splits))


@pytest.mark.parametrize("family", FAMILIES)
def test_rows_repeat_and_depend_on_the_seed(family) -> None:
    rows = split_rows(family, "train", 50, 0)
    assert rows == split_rows(family, "train", 50, 0)
    assert rows != split_rows(family, "train", 50, 1)
    assert len(rows) == 50
    assert rows[:20] == split_rows(family, "train", 20, 0)


def test_unknown_names() -> None:
    with pytest.raises(UserError, match=r"'algebra'.*arithmetic, sentences, world"):
        split_rows("algebra", "train", 1, 0)
    with pytest.raises(UserError, match="'dev'"):
        split_rows("world", "dev", 1, 0)
