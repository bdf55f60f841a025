from __future__ import annotations

import pyarrow.parquet as pq
import pytest

from lorasb.tasks.answers.latex import (
    boxed_expression,
    boxed_latex,
    last_expression,
    normal_form,
    stated_latex,
)
from tests.offline import SHARED

MATH = SHARED / "data/hendrycks/competition_math/default/test.parquet"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("\\frac12", "\\frac{1}{2}"),
        ("\\frac 12", "\\dfrac{1}{2}"),
        ("\\frac9{19}", "\\tfrac{9}{19}"),
        ("0.5", "\\frac{1}{2}"),
        (".5", "1/2"),
        ("-\\frac{1}{2}", "\\frac{-1}{2}"),
        ("-\\frac{1}{2}", "-.50"),
        ("\\frac{\\sqrt3}{2}", "\\frac{\\sqrt{3}}2"),
        ("10\\sqrt 2", "10\\sqrt{2}"),
        ("\\sqrt[3]2", "\\sqrt[3]{2}"),
        ("\\frac \\pi4", "\\frac{\\pi}{4}"),
        ("x^2", "x^{2}"),
        ("4210_{7}", "4210_7"),
        ("\\left(3,\\frac{\\pi}{2}\\right)", "(3, \\frac{\\pi}{2})"),
        ("1,000", "1,\\!000"),
        ("90{,}900{,}909", "90900909"),
        ("111, \\! 111, \\! 111", "111,111,111"),
        ("\\$16,\\!386.16", "16386.16"),
        ("44\\%", "44"),
        ("90^\\circ", "90^{\\circ}"),
        ("90^\\circ", "90"),
        ("x = 3", "3"),
        ("575\\text{ students}", "575"),
        ("864 \\mbox{ inches}^2", "864"),
        ("25 \\, \\text{km}", "25"),
        ("\\text{Evelyn}", "Evelyn"),
        ("\\text{13}", "13"),
        ("2.", "2"),
        ("\u22122", "-2"),
        ("\u20132", "-2"),
        ("3\\frac12", "\\frac72"),
        ("-3 \\frac{1}{2}", "-7/2"),
        ("1 1/2", "3/2"),
        ("2\u00bd", "2.5"),
        ("2 500", "2500"),
        ("2\\,500", "2{,}500"),
        ("10\u00a0000", "10,\\!000"),
        ("1.5 \\times 10^3", "1500"),
        ("10^{-2}", "0.01"),
        ("\\frac{12}{5,\\!525}", "12/5525"),
        ("x\u00b2", "x^2"),
        ("\\frac 1 2", "\\frac12"),
        ("24 m^2", "24"),
        ("24 cm\u00b2", "24"),
        ("24 square units", "24"),
        ("24 dollars", "24"),
        ("24 miles per hour", "24"),
        ("24 \u20ac", "24"),
        ("\\begin{pmatrix} 2 \\\\ -11 \\end{pmatrix}", "\\begin{pmatrix}2\\\\-11\\end{pmatrix}"),
        ("\\begin{pmatrix} 1/2 \\\\ 3 \\end{pmatrix}", "\\begin{pmatrix}1/2 \\\\3 \\end{pmatrix}"),
    ],
)
def test_one_answer_in_two_forms(one, other):
    assert normal_form(one) == normal_form(other)
    assert normal_form(one) is not None


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("5", "500"),  # no factors of 100
        ("50\\%", "0.5"),
        ("17.6", "18"),
        ("2516_8", "2516_7"),
        ("19", "19 \\text{ and }43"),  # not a unit: something follows it
        ("9\\text{ a.m.}", "9\\text{ p.m.}"),
        ("(1,2)", "[1,2]"),
        ("(1,2)", "(2,1)"),
        ("x", "y"),
        ("X", "x"),
        ("\\text{odd}", "\\text{even}"),
        ("3x = y + 1", "y + 1"),
        ("-\\frac{1}{2}", "\\frac{1}{2}"),
        ("1.0001", "1"),
        ("1 1/2", "11/2"),
        ("3 4", "34"),
        ("24m", "24"),  # a variable
        ("2 ab", "2"),
        ("3 or 4", "3"),
        ("3:1", "1/3"),
        ("3:4", "4"),
        ("2\\pi", "2"),
    ],
)
def test_two_answers(one, other):
    assert None not in (normal_form(one), normal_form(other))
    assert normal_form(one) != normal_form(other)


@pytest.mark.parametrize(
    "text",
    [
        "\\frac",
        "\\frac1",
        "\\frac{1}",
        "\\frac{1}{",
        "\\frac\\sqrt{2}{3}",
        "3\\sqrt",
        "\\sqrt{",
        "3}",
        "3}{",
        "{3",
        "x^",
        "x_",
        "\\",
        "",
        " \\! ",
        "$$",
        "\\text{ cm",
        "9" * 501,
        "{" * 250 + "}" * 249,
    ],
)
def test_malformed_answers_are_none(text):
    assert normal_form(text) is None


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("so \\boxed{2}", "2"),
        ("\\boxed{1} and then \\boxed{\\frac{3}{4}}.", "\\frac{3}{4}"),
        ("\\fbox{3}", "3"),
        ("\\boxed {3}", "3"),
        ("\\boxed{\\{1,2\\}}", "\\{1,2\\}"),
        ("\\boxed{90\\text{ square\nunits}}", "90\\text{ square units}"),
        ("\\boxed{3", None),
        ("\\boxed{}", None),
        ("\\boxed", None),
        ("3", None),
        ("", None),
    ],
)
def test_boxed_expression(text, found):
    assert boxed_expression(text) == found


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("so \\boxed{2}.\nThe answer is: \\sqrt{5}", "\\sqrt{5}"),
        ("The answer is: \\sqrt 5.", "\\sqrt{5}"),
        ("The answer is: $\\frac12$.", "1/2"),
        ("The final answer is \\(7\\)", "7"),
        ("The answer is: \\boxed{7}", "7"),
        ("Hence the answer is $x = \\boxed{7}$.", "7"),
        ("The answer is: 3\n\n### Instruction:\nThe", "3"),
        (
            "The answer is: \\begin{pmatrix} 1 \\\\\n2 \\end{pmatrix}",
            "\\begin{pmatrix}1\\\\2\\end{pmatrix}",
        ),
        ("The answer is: 1. The answer is: 2", "2"),
        ("The answer is:\n$$\n\\frac12\n$$", "1/2"),
        ("The answer is\n\\[\n\\frac12\n\\]", "1/2"),
        ("The answer is: 3\n\nQuestion: what else?\nThe answer is: 4", "3"),
        ("The answer is: \\frac", None),
        ("The answer is:", None),
        ("\\boxed{2}", None),
        ("", None),
    ],
)
def test_stated_latex(text, found):
    assert stated_latex(text) == found


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("\\boxed{2}. The answer is: 3", "3"),
        ("so \\boxed{2}, as $1 + 1 = 2$", "2"),
        ("we get $a$, then $b + 1$ in all", "b + 1"),
        ("we get \\(a\\) in all", "a"),
        ("42 apples", "42"),
        ("no idea", None),
        ("", None),
    ],
)
def test_last_expression(text, found):
    assert last_expression(text) == found


def test_every_gold_answer_of_math_is_right_by_the_strict_rule():
    if not MATH.exists():
        pytest.skip("needs real data from ../shared, which this machine lacks")
    solutions = pq.read_table(MATH)["solution"].to_pylist()
    assert len(solutions) == 5000
    for solution in solutions:
        gold = boxed_latex(solution)
        assert gold is not None
        assert stated_latex(f"The answer is: {boxed_expression(solution)}") == gold
