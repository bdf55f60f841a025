"""What of a reply counts: the text before another turn that the model invents."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import wraps

# The next turn of a prompt like Alpaca's, of a list of questions, of a conversation, or a token of
# a chat's template; at the start of a line those that are words of everyday texts.
NEXT_TURN = re.compile(
    r"""
    \#{2,}\s*(?:Instruction|Input|Response|Question|Problem|Human|User|Assistant|System)\b
    | ^[ \t>*\#-]*(?:(?:Next|New)\ )?
        (?:Instruction|Input|Question|Problem|Exercise|Q|Human|User|Assistant)\s*[*_]*:
    | (?<=[.!?])\ +(?:Instruction|Question|Q|Human|User):
    | Below\ is\ an\ instruction\ that\ describes
    | </s> | <eos> | \[/?INST\] | <\|[a-z_]+\|> | <(?:start|end)_of_turn>
    """,
    re.IGNORECASE | re.MULTILINE | re.VERBOSE,
)
STATED = re.compile(r"the (?:final )?answer is\s*:?", re.IGNORECASE)


def own_part(text: str) -> str:
    """The text before the first mark of another turn; a mark that it begins with is its own."""
    start = len(text) - len(text.lstrip())
    for found in NEXT_TURN.finditer(text):
        if text[start : found.start()].strip():
            return text[: found.start()]
    return text


def of_own_part(extract: Callable[[str], str | None]) -> Callable[[str], str | None]:
    """The extractor, of the part of a text that is the reply's own."""

    @wraps(extract)
    def read(text: str) -> str | None:
        return extract(own_part(text))

    return read
