"""Answers that are words: the whole text, or its last number as it is written."""

from __future__ import annotations

import re

NUMBER = re.compile(
    r"""
    ((?:(?<![\w.)])[-+])?)             # a sign, if it cannot be a minus or a hyphen
    [$€£]?
    (
      (?:[0-9]{1,3}(?:,[0-9]{3})+(?![0-9])|[0-9]+)(?:\.[0-9]+)?
      |\.[0-9]+
    )
    """,
    re.VERBOSE,
)


def whole_answer(text: str) -> str | None:
    """All of the text, runs of white space made one blank; None if nothing is left."""
    return " ".join(text.split()) or None


def last_number(text: str) -> str | None:
    """The last number in the text: `1,234.50` and `1234.5` are the same number.

    Commas count where they separate thousands. Units, currencies and percent signs are ignored;
    of a fraction such as `3/4` the denominator is the last number.
    """
    numbers = NUMBER.findall(text.replace("\u2212", "-"))
    if not numbers:
        return None
    sign, digits = numbers[-1]
    return plain_number(sign, digits)


def plain_number(sign: str, digits: str) -> str:
    """A decimal number without separators, leading zeros and trailing zeros after the point."""
    whole, _, fraction = digits.replace(",", "").partition(".")
    normal = f"{whole.lstrip('0') or '0'}.{fraction.rstrip('0')}".rstrip(".")
    return f"-{normal}" if sign == "-" and normal != "0" else normal
