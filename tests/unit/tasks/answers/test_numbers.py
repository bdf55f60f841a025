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
        ("25-9", None),  # what is written together is read together
        ("25 - 9", "9"),  # a minus between operands is no sign
        ("(2)-9", "9"),
        ("2 * -3", "-3"),
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
        ("1e999", None),  # no number of that size is made
        ("10^50", f"1{'0' * 50}"),
        ("777^99", None),
        ("3/0", None),
        ("16 / 4", "4"),
        ("in 2020", "2020"),
        ("on 3/4/2020", None),
        ("on 2020-03-04", None),
        ("12,345,6789", None),
        ("1.5.2", None),  # a version
        ("007", "7"),
        (LONG, LONG),
        (f"{LONG}.0", LONG),
        (f"1/{LONG}", None),
        ("I cannot answer that.", None),
        ("\u0664\u0662", None),  # digits of other scripts are not read
        ("", None),
        # fractions
        ("\\frac12", "1/2"),
        ("\\frac 12", "1/2"),
        ("\\frac1{2}", "1/2"),
        ("\\tfrac{1}{2}", "1/2"),
        ("\\cfrac{ 1 }{ 2 }", "1/2"),
        ("-\\frac{1}{2}", "-1/2"),
        ("\\frac{-1}{2}", "-1/2"),
        ("\\frac{1}{-2}", "-1/2"),
        ("\\frac{1,000}{3}", "1000/3"),
        ("3\\frac12", "7/2"),
        ("-3 \\frac{1}{2}", "-7/2"),
        ("2\\cdot\\frac12", "1/2"),
        ("\u00bd", "1/2"),
        ("2\u00bd", "5/2"),
        ("3\u20444", "3/4"),
        # thousands and decimals
        ("10,\\!000", "10000"),
        ("10{,}000", "10000"),
        ("10\\,000", "10000"),
        ("10~000", "10000"),
        ("10\u00a0000", "10000"),
        ("1\u2009234\u2009567", "1234567"),
        ("10'000", "10000"),
        ("10\u2019000", "10000"),
        ("2 500", "2500"),
        ("$118 000", "118000"),
        ("1 234 567.5", "2469135/2"),
        ("10 20 300", "300"),  # a list: 20 and 300 are two numbers
        ("3 100-meter races", "100"),
        ("1.234,50", "2469/2"),
        ("1.234.567", "1234567"),
        ("1.234", "617/500"),
        # a decimal comma, or a list of two
        ("one of 10,20", None),
        ("3,5", None),
        ("0,123", None),
        ("3, 5", "5"),
        # signs
        ("\u20135", "-5"),
        ("\u20145", "-5"),
        ("\u20115", "-5"),
        ("the total \u2013 5 apples", "5"),
        ("x = - 5", "-5"),
        ("it is negative 5", "-5"),
        ("8 minus 5", "5"),
        ("(-5)", "-5"),
        ("-(5)", "-5"),
        ("-{\\frac{1}{2}}", "-1/2"),
        ("\\pm 5", None),
        ("\u00b15", None),
        ("(5)", "5"),
        ("+5", "5"),
        # units, powers
        ("24 m^2", "24"),
        ("24 cm\u00b2", "24"),
        ("24\\text{ m}^{2}", "24"),
        ("24 m2", "24"),
        ("9.8 m/s^2", "49/5"),
        ("90^\\circ", "90"),
        ("50\\%", "50"),
        ("10^3", "1000"),
        ("10\u00b3", "1000"),
        ("2^{10}", "1024"),
        ("10**3", "1000"),
        ("10^(3)", "1000"),
        ("10^{-2}", "1/100"),
        ("0^-1", None),
        ("5th", "5"),
        ("5...", "5"),
        ("5 million", "5"),  # a unit: GSM8K asks for numbers of millions
        # exponents
        ("1.5 \\times 10^3", "1500"),
        ("1.5 \u00d7 10\u00b3", "1500"),
        ("1.5 x 10^3", "1500"),
        ("1.5\\cdot10^{-1}", "3/20"),
        ("1.5e+3", "1500"),
        # no numbers
        ("a ratio of 3:4", None),
        ("3 : 4", None),
        ("3:4:5", None),
        ("12 apples at 3:45", "12"),
        ("5-10 apples", None),
        ("5\u201310 apples", None),
        ("$5-$10", None),
        ("5%-10%", None),
        ("4x6", None),
        ("1011_2", None),
        ("2\\pi", None),
        ("2\u03c0", None),
        ("5\\sqrt{3}", None),
        ("\\frac{\\pi}{2}", None),
        ("\\frac{x}{2}", None),
        ("0.\\overline{3}", None),
        ("x_{12}", None),
        # currency
        ("5\u20ac", "5"),
        ("Rs. 500", "500"),
        ("Rs.500", "500"),
        ("US$500", "500"),
        ("USD500", "500"),
        ("No.5", "5"),
        # Markdown, LaTeX
        ("**18**", "18"),
        ("_18_", "18"),
        ("$-5$", "-5"),
        ("\\boxed{1{,}200}", "1200"),
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
        ("The answer is: 3:4", None),
        ("The answer is: 3:4, or 7", None),
        ("The answer is: $5-$10", None),
        ("The answer is: 24 m^2.", "24"),
        ("The answer is: 2 500.", "2500"),
        ("The answer is: \\frac12.", "1/2"),
        ("The answer is: \u20135.", "-5"),
        ("The answer is: Rs. 500.", "500"),
        ("The answer is: approx. 500.", "500"),
        ("The final answer is 15.", "15"),
        ("**The answer is:** 15", "15"),
        ("The answer is:\n\\[\n15\n\\]", "15"),
        ("The answer is:\n$$\n15\n$$", "15"),
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
        ("#### 72\n\nQuestion: 3 apples?\n#### 3", "72"),
        ("#### $1 200.", "1200"),
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
