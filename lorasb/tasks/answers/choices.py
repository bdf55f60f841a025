"""Answers that are one of a few given words: the commonsense sets of LLM-Adapters.

What a reply states is its answer, wherever that stands: after words such as `the answer is`, or
before `is correct`. Of several statements the last counts, since a reply may correct itself.
Without one it is the first that the reply names, as in the paper, but none that it rules out: of
`ending3 is out of place` nothing is taken, nor of `not true`. Words are matched as a whole
(`answer12` is not `answer1`), in any case; a blank, a hyphen or a bracket may stand before a number
(`Answer 2`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from lorasb.tasks.answers.reply import of_own_part

WORDS = r"\b(?P<word>true|false)\b"
NUMBERED = r"\b(?P<kind>{})[ _-]?[(\[#]?(?P<number>[0-9]+)\b[)\]]?"
TRUE_FALSE = re.compile(WORDS)
SOLUTION, ANSWER, ENDING, OPTION, ANY = (
    re.compile(NUMBERED.format(kind))
    for kind in ("solution", "answer", "ending", "option", "solution|answer|ending|option")
)
CHOICE = re.compile(f"{WORDS}|{ANY.pattern}")

# Markdown, quotes and a box; none of them changes what is said
MARKS = re.compile("[*_`\"'\u2018\u2019\u201c\u201d{}$]|\\\\(?:boxed|text)")
NOT = re.compile("n['\u2019]t\\b")
IS = re.compile("['\u2019]s\\b")
SENTENCE_END = re.compile(r"[.!?;\n]")
# between the choices of one list: what is said of one is said of all
LISTED = re.compile(r"\s*(?:[,/&]|\b(?:and|or|nor)\b)(?:[\s,/&]|\b(?:and|or|nor)\b)*")

# up to four words, none of which changes what is said
WORDS_TO = r"(?:\W+(?!(?:not|format|options|choices|of|either|among|between|whether)\b)\w+){0,4}?"
ADVERBS = r"(?:\s+(?:the|most|more|very|clearly|definitely|probably|certainly|likely|only|to|be))*"
COPULA = r"(?:is|was|would be|should be|must be|has to be|will be)"

# before a choice: it is the reply's answer
STATING = re.compile(
    r"\b(?:answer|choice|response|statement|claim|conclusion|correct|right|best)"
    rf"{WORDS_TO}\W*?(?:\b{COPULA}\b|[:=]|->){WORDS_TO}\W*$"
    rf"|\b(?:choose|chose|pick|picked|select|selected|go with|going with|settle on){WORDS_TO}\W*$"
    r"|\bmust be\s*$"
)
# the same of numbered choices; of true and false other sentences say that it is so
NAMING = re.compile(
    rf"\b(?:option|solution|ending|completion|continuation|one|it){WORDS_TO}\W+{COPULA}{ADVERBS}"
    r"\W*$"
)
CONCLUDING = re.compile(rf"\b(?:so|therefore|thus|hence|consequently){WORDS_TO}\W*$")
CORRECTING = re.compile(
    r"\b(?:wait|actually|correction|sorry|scratch that|i mean|second thought|mistake)\b"
    r"|\bno\s*[,.:;!-]"
)
# after it
PRAISED = re.compile(
    rf"\W*{COPULA}{ADVERBS}\s+(?:correct|right|best|better|answer|choice|true|appropriate"
    r"|plausible|suitable|logical|reasonable|sensible|accurate|natural|winner)\b"
    r"|\W*(?:seems|sounds|looks|fits|works|matches|wins|makes (?:the most |more )?sense)\b"
    r"|\s*[:(=-]+\s*(?:yes|right|correct)\b|[^.!\n;?]*\?\s*yes\b"
)
# what is asked or only granted is not stated
ASKED = re.compile(r"[^.!\n;?]*\?(?!\s*yes\b)")
GRANTED = re.compile(r"\b(?:although|though|while|whereas|if)\b[^,]*$")

# before a choice: it is not the answer
DENYING = re.compile(
    r"(?:\b(?:not|never|neither|nor|cannot|wrong|incorrect|worst|unlikely|no way|than|unlike"
    r"|except|instead of|rul(?:es?|ed|ing) out|(?:eliminat|exclud|reject|discard|dismiss)\w*)\b"
    r"|^\s*over\b)(?:[^\w,:(]+(?!(?:but|so|and|because|since|if)\b)\w+){0,4}?[^\w,:(]*$"
)
# after it
DENIED = re.compile(
    r"(?:\s+(?!because|since|as|so|and|but|while|for)\w+){0,3}?"
    r"\W*(?:(?:is|are|was|were|do|does|did|can|could|would|will|should|wo|ca|has|have|be"
    r"|seems?|looks?|sounds?)\b"
    r"(?:\s+(?:also|both|all|clearly|simply|very|too|just|completely|be|the))*"
    r"\s+(?:not|never|wrong|incorrect|worst|out of|unlikely|implausible|impossible|irrelevant"
    r"|illogical|unrelated|inappropriate|unreasonable|absurd|nonsens\w*|less|ruled out|eliminated"
    r"|excluded|rejected|dismissed|false)\b|cannot\b|makes? no\b|fails?\b|contradicts?\b)"
    r"|(?:\s*[:(=-]+|[^.!\n;?]*\?)\s*(?:no|wrong|incorrect|false)\s*(?:[.,;)\n]|$)"
)

DENIAL, MENTION, ALONE, STATEMENT = range(4)


class Named(NamedTuple):
    """A choice that a reply names, and how."""

    name: str
    how: int


@of_own_part
def true_false(text: str) -> str | None:
    """`true` or `false`."""
    return _chosen(TRUE_FALSE, text)


@of_own_part
def solution(text: str) -> str | None:
    """`solutionN`."""
    return _chosen(SOLUTION, text)


@of_own_part
def answer(text: str) -> str | None:
    """`answerN`; N may be 5, as in one row of ARC-Easy."""
    return _chosen(ANSWER, text)


@of_own_part
def ending(text: str) -> str | None:
    """`endingN`."""
    return _chosen(ENDING, text)


@of_own_part
def option(text: str) -> str | None:
    """`optionN`."""
    return _chosen(OPTION, text)


@of_own_part
def choice(text: str) -> str | None:
    """An answer of any of these forms, for rows of several sets."""
    return _chosen(CHOICE, text)


def _chosen(pattern: re.Pattern[str], text: str) -> str | None:
    """The choice that the text states last, else the first that it names.

    One that it rules out later on is taken only where no other is left.
    """
    named = list(_named(pattern, MARKS.sub("", IS.sub(" is", NOT.sub(" not", text.lower())))))
    last = {one.name: one.how for one in named}
    taken = [one for one in named if one.how != DENIAL]
    taken = [one for one in taken if last[one.name] != DENIAL] or taken
    best = max((one.how for one in taken), default=None)
    found = [one.name for one in taken if one.how == best]
    return (found[-1] if best == STATEMENT else found[0]) if found else None


def _named(pattern: re.Pattern[str], text: str) -> Iterator[Named]:
    lists = list(_lists(pattern, text))
    ends = [0, *(choices[-1].end() for choices in lists)]
    starts = [*(choices[0].start() for choices in lists[1:]), len(text)]
    for choices, end, start in zip(lists, ends, starts, strict=False):
        before, after = text[end : choices[0].start()], text[choices[-1].end() : start]
        how = _how(before, after, choices)
        yield Named(_name(choices[0]), how)
        # of a list that is stated, the first counts
        yield from (Named(_name(one), min(how, MENTION)) for one in choices[1:])


def _lists(pattern: re.Pattern[str], text: str) -> Iterator[list[re.Match[str]]]:
    """The choices that the text names, those together that it lists, each once."""
    found: list[re.Match[str]] = []
    for one in pattern.finditer(text):
        listed = found and LISTED.fullmatch(text[found[-1].end() : one.start()])
        if found and (not listed or _name(one) in map(_name, found)):
            yield found
            found = []
        found.append(one)
    if found:
        yield found


def _how(before: str, after: str, choices: list[re.Match[str]]) -> int:
    """How choices are named between two texts, which end at the next choices."""
    sentence = SENTENCE_END.split(before)[-1]
    if DENYING.search(sentence) or DENIED.match(after):
        return DENIAL
    asked = ASKED.match(after)
    praised = PRAISED.match(after) and not GRANTED.search(sentence)
    ends = not SENTENCE_END.split(after)[0].strip(" )]")
    if not asked and (
        STATING.search(sentence)
        or CORRECTING.search(before)
        or praised
        or (ends and CONCLUDING.search(sentence))
        or ("word" not in _groups(choices[0]) and NAMING.search(sentence))
    ):
        return STATEMENT
    return ALONE if len(choices) == 1 else MENTION


def _groups(found: re.Match[str]) -> dict[str, str]:
    return {name: text for name, text in found.groupdict().items() if text}


def _name(found: re.Match[str]) -> str:
    return "".join(_groups(found).values())
