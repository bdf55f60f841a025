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
        ("It is not true, so false", "false"),
        ("true/false", "true"),  # nothing is stated: the first one named, as in the paper
        ("not true", None),
        ("The statement isn't true.", None),
        ("This is false, not true.", "false"),
        ("It is true that dogs bark, but the correct answer is false.", "false"),
        ("The correct answer is false. It is true that dogs bark.", "false"),
        ("The claim is false because it is not true that water is dry.", "false"),
        ("The correct answer is true, although it isn't always true.", "true"),
        ("I'd say true... actually false", "false"),
        ("True or false? False", "false"),
        ("Answer format: true/false\nfalse", "false"),
        ("True is wrong; false is right", "false"),
        ("The correct answer is false - no such law exists.", "false"),
        ("Is it true? No doubt!", "true"),
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
        ("neither answer1 nor answer2", None),
        ("Answer (2)", "answer2"),
        ("answer_2", "answer2"),
        ("The correct answer is answer1 because answer2, answer3 are not related", "answer1"),
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
        ("true, if solution1 is used", "true"),
        ("It is true that solution1 is best", "solution1"),  # stated before named
        ("Ending 2", "ending2"),
        ("the answer is option1", "option1"),
        ("nothing of that", None),
    ],
)
def test_choice_takes_the_first_of_any_form(text, found):
    assert choice(text) == found


# what a reply says of its options, and the one that is its answer
STATED = [
    # stated before named
    ("option1, option2, option3, option4. The correct answer is option2", "2"),
    ("Option1: heat, option2: cold. The correct answer is option2.", "2"),
    ("Option1/option2. The answer is: option2.", "2"),
    ("Option1 is about heat; option2 is about cold, so the answer is option2", "2"),
    ("**Option 2** is correct", "2"),
    ("Option2 is the correct answer because option1 does not make sense.", "2"),
    ("the option that fits best is option2, because option1 contradicts the text", "2"),
    ("Option1 is plausible, but option2 is the most plausible.", "2"),
    ("While option1 is plausible, option2 is the best.", "2"),
    ("Option2 is the most plausible, although option1 is plausible.", "2"),
    ("The answer could be option1 or option2, but I choose option2.", "2"),
    ("The correct answer is either option1 or option2; I'd go with option2", "2"),
    ("Between option1 and option2, option2 fits best.", "2"),
    ("Is it option1? The correct answer is option2.", "2"),
    ("Could it be option1? No. Could it be option2? Yes.", "2"),
    ("Answer format: option1/option2\nThe correct answer is option2", "2"),
    ("option1/option2/option3: option2", "2"),
    ("Option1 fits. Then again... So it must be option2", "2"),
    # the last stated of a reply that corrects itself
    ("The correct answer is option1. Wait, actually, option2 fits better.", "2"),
    ("The correct answer is option1. No, it's option2.", "2"),
    ("The correct answer is option1, no wait, option2.", "2"),
    ("The correct answer is option1. Sorry, I meant option2.", "2"),
    ("I first thought option1, but on second thought option2", "2"),
    ("option1... no, option2", "2"),
    ("The correct answer is option1. Option1 is wrong, though. It must be option2.", "2"),
    ("The correct answer is option1. Actually option1 is wrong, option2", "2"),
    # not what is ruled out
    ("Option1 is out of place here; the correct answer is option2", "2"),
    ("The correct answer is not option1 but option2", "2"),
    ("It isn't option1, option3 or option4; it's option2", "2"),
    ("Option1 and option3 are wrong, so the correct answer is option2", "2"),
    ("I would rule out option1. option2", "2"),
    ("I rule out option1, option3 and option4. That leaves option2.", "2"),
    (
        "Let's eliminate option1 and option4. Of option2 and option3, option2 makes the most sense",
        "2",
    ),
    ("It cannot be option1, therefore option2.", "2"),
    ("Option1 won't work. Option2 will.", "2"),
    ("Neither option1 nor option3 is right. The correct answer is option2.", "2"),
    ("The wrong answer is option1, the right one is option2", "2"),
    ("The correct answer is option2, the incorrect answer is option1", "2"),
    ("The correct answer is option2 rather than option1", "2"),
    ("Option2 is better than option1", "2"),
    ("I prefer option2 over option1", "2"),
    ("option2 (not option1)", "2"),
    ("It's option2, not option1", "2"),
    ("option 1: no. option 2: yes. option 3: no.", "2"),
    ("option1 makes no sense. option3 is impossible. So it has to be option2.", "2"),
    ("I'm not sure but I think option2", "2"),
    ("not option1", None),
    ("Option1 isn't right", None),
    ("option1 is not the correct answer", None),
    # marks around it
    ("\\boxed{\\text{option2}}", "2"),
    ("(option2)", "2"),
    ("'option2'", "2"),
    ("the correct answer is option 2", "2"),
    # the first one named
    ("option2", "2"),
    ("option2 or option1", "2"),
    ("option2 option1 mouse option3 fish option4", "2"),
    ("option2: use a spoon", "2"),
]


@pytest.mark.parametrize("name", ["option", "ending", "solution", "answer", "choice"])
@pytest.mark.parametrize(("text", "number"), STATED)
def test_what_is_stated(name, text, number):
    word = "option" if name == "choice" else name
    text = text.replace("option", word).replace("Option", word.title())
    assert EXTRACTORS[name](text) == (number and word + number)


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
