"""Rows of the selection and test splits that are trained on too."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from functools import cache
from sys import maxunicode

from lorasb.tasks.task import KEEP, Row, Task

Tally = dict[str, int]
Key = tuple[str, ...]

SIGNS = "-*/%"
# blanks, ASCII punctuation and signs
MARKS = r"\s!\"#&'(),.:;?@\[\\\]`{}*/%-"
RUN = re.compile(f"[{MARKS}]+")
# most runs: no digit on either side; for speed
FAR_FROM_DIGITS = re.compile(rf"(?<![\d{MARKS}])[{MARKS}]++(?!\d)")


@dataclass(frozen=True)
class Part:
    """Rows that are read together: a split, or one evaluation set of the test split."""

    task: Task
    split: str
    # of the evaluation set; empty: the whole split
    name: str
    rows: list[Row]
    counts: Tally = field(default_factory=dict)


def normal_form(text: str) -> str:
    """The text without what case, blanks and punctuation tell.

    Unicode's form NFKC in folded case. Between two digits blanks and punctuation stay, and so do
    the signs `-*/%` beside a digit: 1.5 is not 15, -5 not 5, and 6 / 2 is 6/2 but not 6 * 2. A text
    of nothing else is its own normal form.
    """
    folded = unicodedata.normalize("NFKC", text).casefold().translate(_ascii_punctuation())
    return RUN.sub(_kept, FAR_FROM_DIGITS.sub("", folded)) or text


# when two texts are the same one
FORMS: dict[str, Callable[[str], str]] = {"exact": str, "normalised": normal_form}


def drop_overlap(training: Part, others: list[Part]) -> tuple[Part, list[Part]]:
    """Drop the training rows that are alike one of another part, where its split says so.

    Rows are alike if all that they put into the prompt, or all their texts, are the same, whatever
    the answers. Both counts of the other parts are of the training rows as they were cut;
    `overlap_left` is the normalised one of those that were kept.
    """
    own = {level: _keys(training, form) for level, form in FORMS.items()}
    found = [{level: _keys(part, form) for level, form in FORMS.items()} for part in others]
    gone: set[int] = set()
    for part, keys in zip(others, found, strict=True):
        level = part.task.splits[part.split].drop_overlap
        if level != KEEP:
            taken = set(keys[level])
            gone |= {number for number, key in enumerate(own[level]) if key in taken}
    kept = [row for number, row in enumerate(training.rows) if number not in gone]
    left = {key for number, key in enumerate(own["normalised"]) if number not in gone}
    counted = [
        {f"overlap_{level}": _count(keys[level], own[level]) for level in FORMS}
        | {"overlap_left": _count(keys["normalised"], left)}
        for keys in found
    ]
    return (
        replace(training, rows=kept, counts=training.counts | {"dropped_overlap": len(gone)}),
        [
            replace(part, counts=part.counts | own)
            for part, own in zip(others, counted, strict=True)
        ],
    )


def _keys(part: Part, form: Callable[[str], str]) -> list[Key]:
    """What tells rows apart, a row at a time; a blank column tells nothing."""
    names = part.task.inputs
    texts = ([str(row[name]) for name in names] for row in part.rows)
    return [tuple(form(text) for text in row if text.strip()) for row in texts]


def _count(keys: list[Key], among: Iterable[Key]) -> int:
    known = set(among)
    return sum(key in known for key in keys)


def _kept(run: re.Match[str]) -> str:
    """What stays of blanks and punctuation, by the digits beside them."""
    text, (start, end) = run.string, run.span()
    digits = text[start - 1 : start].isdigit() + text[end : end + 1].isdigit()
    if digits == 2:
        return "".join(run[0].split()) or " "
    return "".join(sign for sign in run[0] if sign in SIGNS) if digits else ""


@cache
def _ascii_punctuation() -> dict[int, str | None]:
    """Other punctuation to ASCII's: dashes to one, the rest to commas; invisible marks to none."""
    replaced = {"Pd": "-", "Cf": None} | dict.fromkeys(["Pc", "Ps", "Pe", "Pi", "Pf", "Po"], ",")
    kinds = ((code, unicodedata.category(chr(code))) for code in range(128, maxunicode + 1))
    return {code: replaced[kind] for code, kind in kinds if kind in replaced}
