from __future__ import annotations

import re
from collections import Counter

import numpy as np
import pytest

from lorasb.bundled import sentences
from lorasb.bundled.corpus import write_documents
from lorasb.bundled.vocabulary import ASPECTS, PRAISE
from lorasb.errors import UserError


def opinions(sentence: str) -> dict[str, bool]:
    """Is each aspect good? Read from the text alone."""
    good: dict[str, bool] = {}
    head = ""
    for part in re.split(r" , | (?=and )", sentence.removesuffix(" .")):
        negated = bool({"not", "never"} & set(part.split()))
        aspect = next(word for word in part.split() if word in ASPECTS)
        if part.startswith("and "):
            good[aspect] = good[head] != negated
        else:
            head = aspect
            good[aspect] = (part.split()[-1] in PRAISE) != negated
    return good


@pytest.mark.parametrize("split", ["train", "selection", "test"])
def test_labels_follow_from_the_sentences(split) -> None:
    for row in sentences.generate(400, np.random.default_rng(0), split):
        good = opinions(row["sentence"])
        assert {"food", "music"} <= set(good)
        assert row["label"] == 2 * good["food"] + good["music"]


def test_classes_are_balanced() -> None:
    rows = sentences.generate(2000, np.random.default_rng(1), "train")
    counts = Counter(row["label"] for row in rows)
    # 500 a class expected, four standard deviations are 78
    assert all(abs(counts[label] - 500) < 78 for label in range(4))


def test_share_of_reviews_with_a_third_aspect() -> None:
    rows = sentences.generate(1000, np.random.default_rng(4), "train")
    share = sum(len(opinions(row["sentence"])) == 3 for row in rows) / 1000
    # three standard deviations of a share of 1000 are at most 0.047
    assert share == pytest.approx(sentences.THIRD_ASPECT, abs=0.047)


def test_only_the_task_leaves_out_predicates() -> None:
    ellipsis = re.compile(r"was [^.]* and ")
    rows = sentences.generate(500, np.random.default_rng(2), "train")
    share = sum(bool(ellipsis.search(row["sentence"])) for row in rows) / 500
    # three standard deviations of a share of 500 are at most 0.067
    assert share == pytest.approx(sentences.ELLIPSIS, abs=0.067)
    assert not ellipsis.search(" ".join(write_documents(3000, np.random.default_rng(3))))


def test_unknown_split() -> None:
    with pytest.raises(UserError, match="dev"):
        sentences.generate(1, np.random.default_rng(0), "dev")
