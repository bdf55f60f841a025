from __future__ import annotations

import re

import numpy as np
import pytest

from lorasb.bundled import arithmetic
from lorasb.bundled.arithmetic import Count, draw_count, tell
from lorasb.bundled.vocabulary import GAINS, LARGEST_NUMBER, LOSSES
from lorasb.errors import UserError


def solve(question: str) -> list[int]:
    """The asked person's counts one after the other, read from the text alone."""
    asked = re.search(r"how many \w+ does (\w+) have \?", question)
    assert asked
    totals: list[int] = []
    for sentence in question.split(" . ")[:-1]:
        person, verb, number, _ = sentence.split()
        if person != asked[1]:
            continue
        if verb == "has":
            totals.append(int(number))
        else:
            assert verb in GAINS + LOSSES
            totals.append(totals[-1] + (int(number) if verb in GAINS else -int(number)))
    return totals


@pytest.mark.parametrize("split", ["train", "test"])
def test_answers_follow_from_the_questions(split) -> None:
    for row in arithmetic.generate(300, np.random.default_rng(0), split):
        totals = solve(row["question"])
        assert len(totals) == arithmetic.CHANGES + 1
        steps = row["answer"].removesuffix(" .").split(" , ")
        assert len(steps) == arithmetic.CHANGES
        for before, after, step in zip(totals, totals[1:], steps, strict=False):
            left, sign, operand, equals, right = step.split()
            assert (int(left), int(right), equals) == (before, after, "=")
            assert before + (int(operand) if sign == "+" else -int(operand)) == after
            assert 1 <= int(operand) <= LARGEST_NUMBER
            assert 0 <= after <= LARGEST_NUMBER


def test_share_of_problems_with_a_second_person() -> None:
    rows = arithmetic.generate(1000, np.random.default_rng(1), "train")
    share = sum(row["question"].count(" has ") == 2 for row in rows) / 1000
    # three standard deviations of a share of 1000 are at most 0.047
    assert share == pytest.approx(arithmetic.SECOND_PERSON, abs=0.047)


def test_everybodys_events_stay_in_order() -> None:
    rng = np.random.default_rng(0)
    counts = [Count("ann", "cups", 1, (1, 2, 3)), Count("bob", "cups", 9, (-1, -2, -3))]
    told = {tell(rng, counts) for _ in range(40)}
    for text in told:
        for person in ("ann", "bob"):
            assert re.findall(rf"{person} (?!has)\w+ (\d+)", text) == ["1", "2", "3"]
    assert len({re.sub(r"[a-z]+s\b", "", text) for text in told}) > 10


def test_draws_reach_all_counts_and_changes() -> None:
    rng = np.random.default_rng(0)
    # 41 counts and 40 changes: the chance that 2000 draws miss one is below 1e-15
    changes = [draw_count(rng, "ann", "cups", 1).changes[0] for _ in range(2000)]
    assert {abs(change) for change in changes} == set(range(1, LARGEST_NUMBER + 1))
    counts = [draw_count(rng, "ann", "cups", 2) for _ in range(2000)]
    assert {count.start + sum(count.changes) for count in counts} == set(range(LARGEST_NUMBER + 1))


def test_no_chain_of_steps_is_in_two_splits() -> None:
    rng = np.random.default_rng(0)
    chains = [
        {row["answer"] for row in arithmetic.generate(800, rng, split)}
        for split in ("train", "selection", "test")
    ]
    assert len(set().union(*chains)) == sum(map(len, chains))


def test_last_count_is_rarely_the_first() -> None:
    counts = [draw_count(np.random.default_rng(seed), "ann", "cups", 2) for seed in range(400)]
    # (a model that copies the first count must score near zero): 1 in 40 expected
    assert sum(sum(count.changes) == 0 for count in counts) < 25


def test_unknown_split() -> None:
    with pytest.raises(UserError, match="dev"):
        arithmetic.generate(1, np.random.default_rng(0), "dev")
