from __future__ import annotations

import re

import numpy as np
import pytest

from lorasb.bundled.corpus import KINDS, write_documents
from lorasb.bundled.facts import RELATIONS, true_value
from lorasb.bundled.tokenizer import words
from lorasb.bundled.vocabulary import CREATURES


def test_shares_add_up_to_one() -> None:
    assert sum(kind.share for kind in KINDS.values()) == pytest.approx(1.0)


@pytest.mark.parametrize("name", KINDS)
def test_documents_use_known_words_and_fit_a_row(name) -> None:
    rng = np.random.default_rng(0)
    known = set(words())
    for _ in range(200):
        document = KINDS[name].write(rng).split()
        assert set(document) <= known
        assert len(document) < 64
        assert document[-1] == "."


def test_sums_are_right() -> None:
    rng = np.random.default_rng(1)
    for _ in range(200):
        for kind in ("sums", "stories"):
            for left, sign, right, total in re.findall(
                r"(\d+) ([+-]) (\d+) = (\d+)", KINDS[kind].write(rng)
            ):
                assert int(left) + int(f"{sign}{right}") == int(total)


def test_probed_number_of_a_story_is_the_last_total() -> None:
    rng = np.random.default_rng(2)
    for _ in range(100):
        story = KINDS["stories"].write(rng)
        assert story.split()[KINDS["stories"].probed] == re.findall(r"= (\d+)", story)[-1]


def test_recall_answers_the_asked_persons_count() -> None:
    rng = np.random.default_rng(3)
    for _ in range(100):
        text = KINDS["recall"].write(rng)
        asked = re.search(r"how many (\w+) does (\w+) have \? answer : (\d+) \.", text)
        assert asked
        assert f"{asked[2]} has {asked[3]} {asked[1]} ." in text


@pytest.mark.parametrize("kind", ["fact_questions", "fact_choices"])
def test_facts_are_true(kind) -> None:
    rng = np.random.default_rng(4)
    truths = {
        relation.question.format(creature=creature): true_value(creature, relation)
        for creature in CREATURES
        for relation in RELATIONS
    }
    for _ in range(200):
        text = KINDS[kind].write(rng)
        question = re.search(r"question : (.* \?)", text)
        assert question
        assert text.endswith(f"answer : {truths[question[1]]} .")


def test_option_lists_look_up_three_options() -> None:
    rng = np.random.default_rng(5)
    for _ in range(100):
        text = KINDS["option_lists"].write(rng)
        listed = dict(re.findall(r"(option\d) (\w+)(?= option| \.)", text.split(" . ")[0] + " ."))
        asked = re.findall(r"(\w+) is (option\d) \.", text)
        assert len(set(asked)) == 3
        assert all(listed[option] == value for value, option in asked)


def test_no_story_of_several_events_ends_in_a_question() -> None:
    rng = np.random.default_rng(6)
    for _ in range(300):
        story = KINDS["stories"].write(rng)
        if "question" in story:
            assert len(re.findall("=", story)) == 1


def test_write_documents_draws_all_kinds_and_repeats() -> None:
    documents = write_documents(500, np.random.default_rng(7))
    assert documents == write_documents(500, np.random.default_rng(7))
    lists = sum(document.startswith("option1") for document in documents) / 500
    # three standard deviations of a share of 500 are 0.06
    assert lists == pytest.approx(KINDS["option_lists"].share, abs=0.06)
