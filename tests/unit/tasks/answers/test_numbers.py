from __future__ import annotations

import pyarrow.parquet as pq
import pytest

from lorasb.tasks.answers.numbers import exact, last_value, marked_value, stated_value
from tests.offline import SHARED

GSM8K = SHARED / "data/openai/gsm8k/main/test.parquet"
LONG = "7" * 5000


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("24 + 1 = 25, 25 - 9 = 16.", "16"),
        ("1,234,567", "1234567"),
        ("$1,234.50", "2469/2"),
        ("1,234.5 dollars", "2469/2"),
        ("17.6", "88/5"),  # not 18
        ("18.0", "18"),
        ("about 80%", "80"),
        ("-5", "-5"),
        ("\u22125 degrees", "-5"),  # the typographic minus
        ("- 5", "-5"),
        ("-$42", "-42"),
        ("$-42", "-42"),
        ("\\$42", "42"),
        ("€3", "3"),
        ("25-9", "9"),  # a minus between operands is no sign
        ("covid-19", "19"),
        ("-0", "0"),
        ("3/4", "3/4"),
        ("6/8 cup", "3/4"),
        ("8/2", "4"),
        ("0.75", "3/4"),
        ("1 1/2 hours", "3/2"),
        ("-1 1/2", "-3/2"),
        ("\\frac{3}{4}", "3/4"),
        ("\\dfrac{3}{4}", "3/4"),
        ("1{,}234", "1234"),
        (".5", "1/2"),
        ("1e3", "1000"),
        ("2.5E-1", "1/4"),
        ("1e999", "999"),  # no number of that size is made
        ("3/0", None),
        ("16 / 4", "4"),
        ("in 3/4/2020", "2020"),
        ("one of 10,20", "20"),
        ("12,345,6789", "6789"),
        ("1.5.2", "1/5"),  # a version, read as 1.5 and .2
        ("007", "7"),
        (LONG, LONG),
        (f"{LONG}.0", LONG),
        (f"1/{LONG}", None),
        ("I cannot answer that.", None),
        ("\u0664\u0662", None),  # digits of other scripts are not read
        ("", None),
    ],
)
def test_last_value(text, found):
    assert last_value(text) == found


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("5 * 3 = 15\n#### 15\nThe answer is: 15", "15"),
        ("The answer is 15.", "15"),
        ("THE ANSWER IS:15", "15"),
        ("The answer is: 1,234,567", "1234567"),  # the authors' rule reads 1,234
        ("The answer is: 17.6", "88/5"),  # which theirs rounds to 18
        ("The answer is: $18 per day", "18"),
        ("The answer is $\\$18$.", "18"),
        ("The answer is \\boxed{18}", "18"),
        ("The answer is 18 or 18.0", "18"),
        ("The answer is: 3. No, 4 is wrong.", "3"),
        ("The answer is: 12\n\n### Instruction:\nWhat is 7 + 8?", "12"),
        ("The answer is: 3. The answer is: 4", "4"),
        ("The answer is:\n42", "42"),
        ("The answer is: -5 degrees", "-5"),
        ("The answer is: 3/4", "3/4"),
        ("The answer is: 3 hours and 20 minutes", None),
        ("The answer is: 5 + 3 = 8", None),
        ("The answer is: 3/0", None),
        ("The answer is: eighteen", None),
        ("The answer is:", None),
        ("The answer is: 4. The answer is:", None),
        ("so 15 in all", None),
        ("", None),
    ],
)
def test_stated_value(text, found):
    assert stated_value(text) == found


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("She has 48/2 = <<48/2=24>>24.\n#### 72", "72"),
        ("#### 1,080", "1080"),
        ("#### -10", "-10"),
        ("####72", "72"),
        ("#### 72\n#### 73", "73"),
        ("#### 72\nQuestion: 3 apples", "72"),
        ("The answer is: 72", None),
        ("####", None),
        ("", None),
    ],
)
def test_marked_value(text, found):
    assert marked_value(text) == found


@pytest.mark.parametrize(
    ("text", "found"),
    [("1,000", "1000"), ("0.5", "1/2"), ("-3/4", "-3/4"), ("5 cm", None), ("x", None), ("", None)],
)
def test_exact_wants_a_number_and_nothing_else(text, found):
    assert exact(text) == found


def test_every_gold_answer_of_gsm8k_is_right():
    if not GSM8K.exists():
        pytest.skip("needs real data from ../shared, which this machine lacks")
    answers = pq.read_table(GSM8K)["answer"].to_pylist()
    assert len(answers) == 1319
    for answer in answers:
        gold = marked_value(answer)
        assert gold is not None
        assert gold.lstrip("-").isdigit()
        assert last_value(answer) == gold
        assert stated_value(f"The answer is: {answer.split('####')[1]}") == gold
