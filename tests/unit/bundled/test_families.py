from __future__ import annotations

import hashlib
import json

import pytest

from lorasb.bundled.families import FAMILIES, split_rows
from lorasb.config.read import load_task_config
from lorasb.errors import UserError


def texts(family: str, split: str, seed: int) -> set[str]:
    return {row.get("question") or row["sentence"] for row in split_rows(family, split, 3200, seed)}


# family -> data_version of its task, and the start of the SHA-256 of its first 300 rows a split
ROWS = {
    "arithmetic": (2, "aec0ec0b23c3d100"),
    "sentences": (2, "aa24c80eb7ff088e"),
    "world": (2, "b4886c50a057e767"),
}


@pytest.mark.parametrize("family", FAMILIES)
def test_other_rows_have_another_data_version(family) -> None:
    # cells run again, and selected learning rates go out of date, only if the version is raised
    rows = [split_rows(family, split, 300, 0) for split in ("train", "selection", "test")]
    digest = hashlib.sha256(json.dumps(rows).encode()).hexdigest()[:16]
    assert (load_task_config(family)["data_version"], digest) == ROWS[family]


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
