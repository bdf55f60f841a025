from __future__ import annotations

import pytest

from lorasb.tasks.answers import COMPARATORS, EXTRACTORS

# a reply in the form that each family is trained on
REPLIES = [
    "option2 is -1,000.50 .",
    "7",
    "value  is option3 .",
    "the correct answer is answer5",
    "#### 1,234",
    "The answer is: \\frac12",
    "so $x = \\boxed{\\frac{3}{4}}$",
]
# the others need a mark, or take a part of the text as it is
NORMAL = [
    "whole_answer",
    "unmarked_answer",
    "last_value",
    "true_false",
    "solution",
    "answer",
    "ending",
]
NORMAL += ["option", "choice"]


@pytest.mark.parametrize("name", NORMAL)
@pytest.mark.parametrize("text", REPLIES)
def test_an_answer_in_normal_form_stays(name, text):
    answer = EXTRACTORS[name](text)
    assert answer is None or EXTRACTORS[name](answer) == answer


@pytest.mark.parametrize("name", sorted(EXTRACTORS))
@pytest.mark.parametrize(
    "text", ["", " \n\t ", "#### ", "The answer is", "The answer is: .", "\x00"]
)
def test_extractors_return_text_or_nothing(name, text):
    answer = EXTRACTORS[name](text)
    assert answer is None or answer.strip()


@pytest.mark.parametrize("name", sorted(EXTRACTORS))
@pytest.mark.parametrize(
    "character", ["{", "(", "\\frac", "$", "1", "1,", "-", "9^", ". ", "\n", "a", "1 a", "is "]
)
def test_endless_replies_end(name, character):
    EXTRACTORS[name](f"The answer is: {character * 2000}")


@pytest.mark.parametrize("name", sorted(COMPARATORS))
def test_comparators_keep_order_and_take_nothing(name):
    assert COMPARATORS[name]([]) == []
    assert COMPARATORS[name]([("1", "1"), ("", "2"), ("3", "3")]) == [True, False, True]
