"""Answers that are words: the whole text, as it stands or without what is no part of an answer."""

from __future__ import annotations

import re

from lorasb.tasks.answers.reply import of_own_part

MARKS = re.compile(r"[*_`~\"'\u2018\u2019\u201c\u201d()\[\]{}<>]|^[ \t]*\#+[ \t]", re.MULTILINE)


@of_own_part
def whole_answer(text: str) -> str | None:
    """All of the text, runs of white space made one blank; None if nothing is left."""
    return " ".join(text.split()) or None


@of_own_part
def unmarked_answer(text: str) -> str | None:
    """As `whole_answer`, in small letters, without Markdown, quotes, brackets and a full stop.

    For answers of plain words: these marks make no other answer of them.
    """
    return whole_answer(MARKS.sub("", text).lower().rstrip(" .\n"))
