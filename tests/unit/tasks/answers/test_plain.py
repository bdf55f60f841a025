from __future__ import annotations

import pytest

from lorasb.tasks.answers.plain import unmarked_answer, whole_answer


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("24 + 1 = 25 , 25 - 9 = 16 .", "24 + 1 = 25 , 25 - 9 = 16 ."),
        ("  16\n", "16"),
        ("forest  is\toption2 .", "forest is option2 ."),
        ("option2 .\n\n### Instruction:\nforest", "option2 ."),
        ("", None),
        (" \n\t ", None),
    ],
)
def test_whole_answer(text, answer):
    assert whole_answer(text) == answer


@pytest.mark.parametrize(
    "text",
    [
        "the correct answer is answer1",
        "The correct answer is Answer1.",
        "the correct answer is **answer1**",
        "**The correct answer is answer1.**",
        "the correct answer is (answer1)",
        "the correct answer is [answer1] .",
        "the correct answer is `answer1`",
        "_the correct answer is answer1_",
        '"the correct answer is answer1."',
        "the correct answer is \u201canswer1\u201d",
        "# The correct answer is answer1",
        "  the correct\nanswer is answer1  ",
    ],
)
def test_unmarked_answer_forgives_what_is_no_part_of_it(text):
    assert unmarked_answer(text) == "the correct answer is answer1"


@pytest.mark.parametrize(
    "text",
    [
        "answer1",
        "the correct answer is answer2",
        "the answer is answer1",
        "the correct answer is answer1, since it is",
        "the correct answer is answer12",
    ],
)
def test_unmarked_answer_forgives_no_other_words(text):
    assert unmarked_answer(text) != "the correct answer is answer1"


@pytest.mark.parametrize("text", ["", " \n", ".", "** **", "()"])
def test_nothing_is_left(text):
    assert unmarked_answer(text) is None
