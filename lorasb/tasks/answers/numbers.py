"""Answers that are numbers, compared as exact fractions: GSM8K.

`1,234.50`, `1234.5` and `2469/2` have the same normal form, and nothing is rounded: 17.6 is not 18.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from fractions import Fraction

from lorasb.tasks.answers.plain import plain_number

# Longer numbers are compared as text, and fractions of them are no answer: Python refuses to turn
# text of thousands of digits into numbers.
MAX_DIGITS = 100

DIGITS = r"(?:[0-9]{1,3}(?:,[0-9]{3})+(?![0-9])|[0-9]+)(?:\.[0-9]+)?|\.[0-9]+"
VALUE = re.compile(
    rf"""
    (?P<sign>(?:(?<![\w.)])[-+]\ ?)?)  # a sign, if it cannot be a minus or a hyphen
    [$€£]?(?P<second>(?:(?<=[$€£])-)?) # or after the currency, as in $-5
    (?:(?P<whole>[0-9]+)[ ](?=[0-9]+/[0-9]))?   # the 1 of 1 1/2
    (?P<number>{DIGITS})
    (?:[eE](?P<exponent>[-+]?[0-9]{{1,2}})(?![0-9.]))?
    (?:\ ?/\ ?(?P<denominator>{DIGITS}))?
    """,
    re.VERBOSE,
)
STATED = re.compile(r"the answer is\s*:?", re.IGNORECASE)
# a line or a sentence ends what was stated
END = re.compile(r"\n|\.(?=\s|$)")
LATEX_FRACTION = re.compile(r"\\[dt]?frac\s*\{([^{}]*)\}\s*\{([^{}]*)\}")


def last_value(text: str) -> str | None:
    """The last number in the text.

    Commas count where they separate thousands. Units, currencies and percent signs are ignored;
    fractions (`3/4`, `1 1/2`, LaTeX's `\\frac{3}{4}`) and exponents (`1.2e3`) are read as numbers.
    None also where the last number is a fraction over zero.
    """
    values = list(_values(text))
    return values[-1] if values else None


def stated_value(text: str) -> str | None:
    """The number that follows the last `The answer is`, up to the end of its sentence or line.

    Words and units around it do not matter. None if it is followed by no number, or by several that
    differ: `3 hours and 20 minutes` or `5 + 3 = 8` is not one number.
    """
    return _only_value(STATED.split(text)[1:])


def marked_value(text: str) -> str | None:
    """As `stated_value`, but after the last `####`, GSM8K's own mark."""
    return _only_value(text.split("####")[1:])


def exact(text: str) -> str | None:
    """The normal form of a text that is one number and nothing else; None for any other."""
    found = VALUE.fullmatch(text)
    return _normal(found) if found else None


def _only_value(statements: list[str]) -> str | None:
    if not statements:
        return None
    values = set(_values(END.split(statements[-1].strip())[0]))
    return values.pop() if len(values) == 1 else None


def _values(text: str) -> Iterator[str | None]:
    text = text.replace("\u2212", "-").replace("{,}", ",").replace("\\$", "$")
    text = LATEX_FRACTION.sub(r"\1/\2", text)
    return map(_normal, VALUE.finditer(text))


def _normal(found: re.Match[str]) -> str | None:
    sign = "-" if "-" in found["sign"] + found["second"] else ""
    number = plain_number("", found["number"])
    parts = [found["whole"] or "0", number, plain_number("", found["denominator"] or "1")]
    if any(len(part) > MAX_DIGITS for part in parts):
        long_number = found["denominator"] is None and found["exponent"] is None
        return plain_number(sign, number) if long_number else None
    whole, numerator, denominator = map(Fraction, parts)
    if denominator == 0:
        return None
    value = whole + numerator * Fraction(10) ** int(found["exponent"] or 0) / denominator
    return str(-value if sign else value)
