from __future__ import annotations

import re

import numpy as np
import pytest

from lorasb.bundled import world
from lorasb.bundled.corpus import write_documents
from lorasb.bundled.facts import RELATIONS, true_value
from lorasb.bundled.vocabulary import CREATURES
from lorasb.errors import UserError

UNSEEN = {relation.unseen for relation in RELATIONS}


def asked_pair(question: str) -> tuple[str, str]:
    """Creature and relation, read from the wording."""
    asked = question.removeprefix("question : ").split(" option1 ")[0]
    for relation in RELATIONS:
        for wording in (relation.question, f"{{creature}} {relation.unseen} ?"):
            found = re.fullmatch(re.escape(wording).replace(r"\{creature\}", r"(\w+)"), asked)
            if found:
                return found[1], relation.name
    raise AssertionError(asked)


def test_answers_are_true_and_name_their_option() -> None:
    relations = {relation.name: relation for relation in RELATIONS}
    for row in world.generate(300, np.random.default_rng(0), "test"):
        creature, name = asked_pair(row["question"])
        options = dict(re.findall(r"(option\d) (\w+)", row["question"]))
        truth = true_value(creature, relations[name])
        option = next(option for option, value in options.items() if value == truth)
        assert row["answer"] == f"{truth} is {option} ."
        assert len(set(options.values())) == 4


def test_splits_ask_about_disjoint_pairs_that_cover_the_world() -> None:
    asked = {
        split: {
            asked_pair(row["question"])
            for row in world.generate(2500, np.random.default_rng(1), split)
        }
        for split in ("train", "selection", "test")
    }
    assert sum(map(len, asked.values())) == len(set().union(*asked.values())) == 280
    # held-out pairs are there for every relation
    for split in ("selection", "test"):
        assert {name for _, name in asked[split]} == {relation.name for relation in RELATIONS}


def test_half_of_the_questions_use_words_that_the_corpus_lacks() -> None:
    rows = world.generate(1000, np.random.default_rng(2), "train")
    new = sum(bool(UNSEEN & set(row["question"].split())) for row in rows) / 1000
    # three standard deviations of a share of 1000 are 0.047
    assert new == pytest.approx(world.UNSEEN_WORDING, abs=0.047)
    corpus = " ".join(write_documents(3000, np.random.default_rng(3)))
    assert not UNSEEN & set(corpus.split())
    assert set(CREATURES) <= set(corpus.split())


def test_unknown_split() -> None:
    with pytest.raises(UserError, match="dev"):
        world.generate(1, np.random.default_rng(0), "dev")
