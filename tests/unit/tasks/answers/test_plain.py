from __future__ import annotations

import pytest

from lorasb.tasks.answers.plain import last_number, whole_answer


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("24 + 1 = 25 , 25 - 9 = 16 .", "24 + 1 = 25 , 25 - 9 = 16 ."),
        ("  16\n", "16"),
        ("forest  is\toption2 .", "forest is option2 ."),
        ("", None),
        (" \n\t ", None),
    ],
)
def test_whole_answer(text, answer):
    assert whole_answer(text) == answer


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("24 + 1 = 25 , 25 - 9 = 16 .", "16"),
        ("The answer is: 1,234,567", "1234567"),
        ("1,234.50 dollars", "1234.5"),
        ("one of 10,20", "20"),  # a list: 20 is no group of three
        ("12,345,6789", "6789"),  # nor is 6789
        ("-5", "-5"),
        ("it is \u22125 degrees", "-5"),  # the typographic minus
        ("x = -0.50", "-0.5"),
        ("-0", "0"),
        ("+7", "7"),
        ("25-9", "9"),  # a minus between operands is no sign
        ("(2)-9", "9"),
        ("covid-19", "19"),  # nor is a hyphen
        ("1.5-2.5", "2.5"),
        ("$42.", "42"),
        ("-$42", "-42"),
        ("about 80%", "80"),
        ("3/4", "4"),
        (".5", "0.5"),
        ("007", "7"),
        ("2.0", "2"),
        ("100", "100"),
        ("#### 72\n", "72"),
        # not rounded by any float
        ("12345678901234567890123456789012345", "12345678901234567890123456789012345"),
        ("I cannot answer that.", None),
        ("", None),
        ("\u0664\u0662", None),  # digits of other scripts are not read
    ],
)
def test_last_number(text, answer):
    assert last_number(text) == answer
