"""Extractors: from a model's text to the answer that is compared with the gold text's.

An extractor takes a text and gives a string in one normal form, or None where there is no answer.
Tasks name two of them: a strict one, and a flexible one that forgives words around the answer.
"""

from __future__ import annotations

import re
from collections.abc import Callable

Extractor = Callable[[str], str | None]

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
OPTION = re.compile(r"\boption ?([0-9]+)\b")


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
    whole, _, fraction = digits.replace(",", "").partition(".")
    normal = f"{whole.lstrip('0') or '0'}.{fraction.rstrip('0')}".rstrip(".")
    return f"-{normal}" if sign == "-" and normal != "0" else normal


def option(text: str) -> str | None:
    """The first `optionN` in the text, in any case; the rule of the commonsense benchmarks."""
    found = OPTION.search(text.lower())
    return f"option{found[1]}" if found else None


EXTRACTORS: dict[str, Extractor] = {
    "last_number": last_number,
    "option": option,
    "whole_answer": whole_answer,
}
