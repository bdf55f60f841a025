from __future__ import annotations

import pyarrow.parquet as pq
import pytest

from lorasb.tasks.answers import EXTRACTORS
from lorasb.tasks.answers.choices import answer, choice, ending, option, solution, true_false
from tests.offline import SHARED


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("value is option3 .", "option3"),
        ("The answer is Option2.", "option2"),
        ("OPTION 4", "option4"),
        ("option1 or option2", "option1"),
        ("option12", "option12"),
        ("options3", None),
        ("nooption3", None),
        ("3", None),
        ("I would rather not say.", None),
        ("", None),
    ],
)
def test_option(text, found):
    assert option(text) == found


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("the correct answer is true", "true"),
        ("the correct answer is FALSE.", "false"),
        ("True, not false", "true"),
        ("It is not true, so false", "true"),  # the first match counts, as in the paper
        ("true/false", "true"),
        ("untrue", None),
        ("truest", None),
        ("yes", None),
        ("The correct answer is answer1", None),
        ("I cannot tell.", None),
        ("", None),
    ],
)
def test_true_false(text, found):
    assert true_false(text) == found


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("the correct answer is answer3", "answer3"),
        ("the correct answer is answer5", "answer5"),  # one row of ARC-Easy
        ("Answer 2", "answer2"),
        ("ANSWER4", "answer4"),
        ("the answer is 4", None),
        ("the correct answer is\nanswer1 or answer2", "answer1"),
        ("neither answer1 nor answer2", "answer1"),
        ("answer12", "answer12"),  # and not answer1
        ("answerA", None),
        ("As a language model I have no answer.", None),
        ("", None),
    ],
)
def test_answer(text, found):
    assert answer(text) == found


@pytest.mark.parametrize(
    ("extract", "text", "found"),
    [
        (solution, "the correct answer is solution2", "solution2"),
        (solution, "Solution1: use a spoon", "solution1"),
        (solution, "Both solution2 and solution1 work", "solution2"),
        (solution, "the best solution is 1", None),
        (solution, "solutions1", None),
        (ending, "the correct answer is ending4", "ending4"),
        (ending, "ENDING 1.", "ending1"),
        (ending, "spending4", None),
        (ending, "the ending", None),
    ],
)
def test_solution_and_ending(extract, text, found):
    assert extract(text) == found


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("the correct answer is answer3", "answer3"),
        ("It is true that solution1 is best", "true"),
        ("Ending 2", "ending2"),
        ("the answer is option1", "option1"),
        ("nothing of that", None),
    ],
)
def test_choice_takes_the_first_of_any_form(text, found):
    assert choice(text) == found


@pytest.mark.parametrize(
    ("reply", "strict"),
    [
        ("the correct answer is answer1", True),
        ("the  correct answer is\nanswer1", True),
        ("The correct answer is answer1", False),
        ("the correct answer is answer1.", False),
        ("answer1", False),
        ("the correct answer is answer1\n\n### Instruction:", False),
    ],
)
def test_strict_wants_the_trained_form(reply, strict):
    gold = "the correct answer is answer1"
    assert (EXTRACTORS["whole_answer"](reply) == EXTRACTORS["whole_answer"](gold)) is strict
    assert answer(reply) == answer(gold)


@pytest.mark.parametrize(
    ("folder", "extract"),
    [
        ("boolq", true_false),
        ("piqa", solution),
        ("social_i_qa", answer),
        ("hellaswag_approx", ending),
        ("winogrande", option),
        ("ARC-Easy", answer),
        ("ARC-Challenge", answer),
        ("openbookqa", answer),
    ],
)
def test_every_gold_answer_is_right(folder, extract):
    path = SHARED / f"data/LLM-Adapters/{folder}/test.parquet"
    if not path.exists():
        pytest.skip("needs real data from ../shared, which this machine lacks")
    table = pq.read_table(path)
    gold = table["answer"].to_pylist()
    texts = table["output"].to_pylist()
    assert [extract(text) for text in texts] == gold
    assert [choice(text) for text in texts] == gold
