"""Answers that are one of a few given words: the commonsense sets of LLM-Adapters.

As in the paper, the first match in the lower-cased text counts, whatever is said before or after
it: `not true` is `true`. Unlike there, a word is matched as a whole (`answer12` is not `answer1`)
and a blank may stand before its number (`Answer 2`).
"""

from __future__ import annotations

import re

TRUE_FALSE = re.compile(r"\b(true|false)\b")
NUMBERED = {
    name: re.compile(rf"\b({name}) ?([0-9]+)\b")
    for name in ("solution", "answer", "ending", "option")
}
CHOICE = re.compile(r"\b(?:(true|false)|(solution|answer|ending|option) ?([0-9]+))\b")


def true_false(text: str) -> str | None:
    """The first `true` or `false` in the text, in any case."""
    return _first(TRUE_FALSE, text)


def solution(text: str) -> str | None:
    """The first `solutionN` in the text, in any case."""
    return _first(NUMBERED["solution"], text)


def answer(text: str) -> str | None:
    """The first `answerN` in the text, in any case; N may be 5, as in one row of ARC-Easy."""
    return _first(NUMBERED["answer"], text)


def ending(text: str) -> str | None:
    """The first `endingN` in the text, in any case."""
    return _first(NUMBERED["ending"], text)


def option(text: str) -> str | None:
    """The first `optionN` in the text, in any case."""
    return _first(NUMBERED["option"], text)


def choice(text: str) -> str | None:
    """The first answer of any of these forms, for rows of several sets."""
    return _first(CHOICE, text)


def _first(pattern: re.Pattern[str], text: str) -> str | None:
    found = pattern.search(text.lower())
    return "".join(group for group in found.groups() if group) if found else None
