r"""Answers that are numbers, compared as exact fractions: GSM8K.

`1,234.50`, `1234.5` and `2469/2` have the same normal form, and nothing is rounded: 17.6 is not 18.

Digits that are written together are read together: `3:4`, `5-10`, `3/4/2020`, `1.5.2` and `1011_2`
are no number, and nor are `10,20` and `3,5`, a list for one reader and a decimal for another.
Digits after a letter (`m2`) and powers of units are part of a word; `2\pi` and `\sqrt2` are no
plain number. docs/tasks.md has a table.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from fractions import Fraction

from lorasb.tasks.answers.reply import STATED, of_own_part
from lorasb.tasks.answers.signs import plain_signs

# Longer numbers are compared as text, and fractions and powers of them are no answer: Python
# refuses to turn text of thousands of digits into numbers.
MAX_DIGITS = 100

# thousands apart by commas, apostrophes or blanks; a blank may also part two numbers
INTEGER = r"""(?:
    [1-9][0-9]{0,2}(?:,[0-9]{3})+(?![0-9])
    | [1-9][0-9]{0,2}(?:'[0-9]{3})+(?![0-9])
    | (?<![0-9][ ])[1-9][0-9]{0,2}(?:[ ][0-9]{3})+(?![ ]?[0-9]|-[A-Za-z])
    | [0-9]+
)"""
# 1.234,50 and 1.234.567 can be read in one way only
POINTS = r"[1-9][0-9]{0,2}(?:\.[0-9]{3})+(?:,[0-9]+|(?<=\.[0-9]{3}\.[0-9]{3}))(?![0-9])"
NUMBER = rf"(?:{POINTS}|{INTEGER}(?:\.[0-9]+)?|\.[0-9]+)"
CURRENCY = "$€£¥₹"
# what, between digits, makes one thing of them
JOINT = "[.,:'/_^-]"
VALUE = re.compile(
    rf"""
    (?P<sign>(?:(?<![\w.)-])[-+])?)       # a sign, if it cannot be a minus or a hyphen
    (?:[{CURRENCY}]\ ?)?
    (?P<second>(?:(?<=[{CURRENCY}])-)?)   # or after the currency, as in $-5
    # no letter, root or `x/` before it, and no number that it is a part of
    (?<![^\W_])(?<!√)(?<!√\ )(?<![^\W\d_]/)
    (?<![0-9]{JOINT})(?<![0-9]-[{CURRENCY}])(?<!%-)(?<![0-9]\ :\ )
    (?:(?P<whole>[0-9]+)\ (?=[0-9]+/[0-9]))?   # the 1 of 1 1/2
    (?P<number>{NUMBER})
    (?:
        [eE](?P<exponent>[-+]?[0-9]{{1,2}})
        | \ ?[\u00d7*x]\ ?10\^(?P<scale>[-+]?[0-9]{{1,2}})
        | \^(?P<power>[-+]?[0-9]{{1,2}})
    )?
    (?:\ ?/\ ?(?P<denominator>{NUMBER}))?
    # nor after it
    (?!%?{JOINT}?[{CURRENCY}]?[0-9])(?!\ :\ [0-9])(?![eE][-+]?[0-9])
    (?!\.?\ ?√)(?![x\u00d7]\ ?[0-9])
    | (?<![^\W_])[0-9](?:{JOINT}?[0-9])*  # digits that are no number
    """,
    re.VERBOSE,
)
# a line or a sentence ends what was stated
END = re.compile(r"\n|(?<!\bapprox)\.(?=\s|$)")

# Replaced one after the other: LaTeX and words that belong to a number.
_ARGUMENT = r"\s*(?:\{\s*([^{}]*?)\s*\}|([0-9]))"
FRACTION = re.compile(rf"([0-9]\s*)?\\[dtc]?frac{_ARGUMENT}{_ARGUMENT}")
REPLACED = [
    (re.compile(pattern), plain)
    for pattern, plain in (
        (r"\\!|\\(?:left|right)(?![A-Za-z])", ""),
        (r"\\[,;: ()\[\]]|~|\\q?quad(?![A-Za-z])|\$\$", " "),
        (r"\\([$%])", r"\1"),
        (r"\b(?:USD|EUR|GBP|INR|Rs)\.?\s?(?=[0-9])|\b(?:US|CA|AU|HK|R)\$", "$"),
        (r"\\(?:times|cdot|ast)(?![A-Za-z])|[\u00b7\u22c5\u2217\u2715]", "\u00d7"),
        (r"\\colon(?![A-Za-z])", ":"),
        # roots, periods, pi and plus-minus: what they stand beside is no plain number
        (
            r"(?:\\(?:sqrt|overline|bar|dot)(?![A-Za-z])(?:\[[^]]*\])?|√)\s*(?:\{[^{}]*\}|[0-9.]+)",
            "√",
        ),
        (r"\\(?:pi|infty|pm)(?![A-Za-z])|[\u03c0\u221e\u00b1]", "√"),
        (r"√\s*/\s*[0-9.]+", "√"),
        (r"\^\s*(?:\\circ(?![A-Za-z])|\{\s*\\circ\s*\})", "°"),
        # one sign for powers, none for those of units and letters, and no numbers of variables
        (r"(?<=[0-9])\*\*(?=[-+]?[0-9])|\s*\^\s*", "^"),
        (r"([_^])[({]\s*([-+]?[0-9]+)\s*[)}]", r"\1\2"),
        (r"(?<![0-9])\^(?:[-+]?[0-9]+|\{[^{}]*\})|(?<=[A-Za-z)}])_(?:[0-9]+|\{[^{}]*\})", ""),
        (r"\\[A-Za-z]+", r"\\"),
        (r"-\s*[({]\s*([0-9.,/]+)\s*[)}]", r"-\1"),
        # a minus that stands apart is a sign where no number can stand before it
        (r"\bnegative\s+(?=[$€£]?[.0-9])", "-"),
        (r"\bminus\b", "-"),
        (r"(\A\s*|[=(:\[{]\ *|\b(?:is|be)\s+)-\ +(?=[$€£]?[.0-9])", r"\1-"),
    )
]


@of_own_part
def last_value(text: str) -> str | None:
    """The last number in the text; None without one.

    Units, currencies and percent signs are ignored. Fractions (`3/4`, `1 1/2`, LaTeX's), powers and
    exponents (`1.2e3`) are read as numbers, a fraction over zero is none.
    """
    values = [value for value in _values(_plain(text)) if value]
    return values[-1] if values else None


@of_own_part
def stated_value(text: str) -> str | None:
    """The number that follows the last `The answer is`, up to the end of its sentence or line.

    Words and units around it do not matter. None if it is followed by no number, or by several that
    differ: `3 hours and 20 minutes` or `5 + 3 = 8` is not one number.
    """
    return _only_value(STATED.split(text)[1:])


@of_own_part
def marked_value(text: str) -> str | None:
    """As `stated_value`, but after the last `####`, GSM8K's own mark."""
    return _only_value(text.split("####")[1:])


def exact(text: str) -> str | None:
    """The normal form of a text that is one number and nothing else; None for any other."""
    found = VALUE.fullmatch(_plain(text))
    return _normal(found) if found else None


def _only_value(statements: list[str]) -> str | None:
    if not statements:
        return None
    values = set(_values(END.split(_plain(statements[-1]).strip())[0]))
    return values.pop() if len(values) == 1 else None


def _plain(text: str) -> str:
    text = FRACTION.sub(_quotient, plain_signs(text))
    for pattern, plain in REPLACED:
        text = pattern.sub(plain, text)
    return text


def _quotient(found: re.Match[str]) -> str:
    whole = found[1]
    top, bottom = found[2] or found[3] or "", found[4] or found[5] or ""
    if bottom.startswith("-"):
        top, bottom = f"-{top}".removeprefix("--"), bottom[1:]
    if not re.fullmatch("-?[0-9,.]+", top) or not re.fullmatch("[0-9,.]+", bottom):
        return f"{whole or ''}√"
    return (f"{whole.strip()} " if whole else "") + f"{top}/{bottom}"


def _values(text: str) -> Iterator[str | None]:
    return map(_normal, VALUE.finditer(text))


def _normal(found: re.Match[str]) -> str | None:
    if found["number"] is None:
        return None
    sign = "-" if "-" in found["sign"] + found["second"] else ""
    number, power = _decimal(found["number"]), int(found["power"] or 1)
    parts = [found["whole"] or "0", number, _decimal(found["denominator"] or "1")]
    if any(len(part) * abs(power) > MAX_DIGITS for part in parts):
        alone = not any(found[name] for name in ("whole", "denominator", "exponent", "scale"))
        return _signed(sign, number) if alone and power == 1 else None
    whole, numerator, denominator = map(Fraction, parts)
    ten = Fraction(10) ** int(found["exponent"] or found["scale"] or 0)
    if denominator == 0 or (numerator == 0 and power < 0):
        return None
    value = whole + numerator**power * ten / denominator
    return str(-value if sign else value)


def _decimal(digits: str) -> str:
    """A number with a decimal point and no separators, no zeros that say nothing."""
    if re.fullmatch(POINTS, digits):
        digits = digits.replace(".", "").replace(",", ".")
    whole, _, fraction = re.sub("[, ']", "", digits).partition(".")
    return f"{whole.lstrip('0') or '0'}.{fraction.rstrip('0')}".rstrip(".")


def _signed(sign: str, number: str) -> str:
    return f"-{number}" if sign and number != "0" else number
