r"""Answers in LaTeX: MATH and MetaMathQA.

The normal form follows the rule that the authors of MATH describe (Hendrycks et al. 2021, arXiv
2103.03874): spaces, sizes of brackets, units, currency, degree and percent signs go, `\frac12` and
`\sqrt2` get their braces, a leading `x =` goes. Beyond it, plain numbers are made exact fractions,
so that `0.50`, `1/2` and `\frac{1}{2}` are one answer. A percent sign is a unit: 50 % is 50, never
0.5. LaTeX that breaks off, such as `\frac` or `3\sqrt`, is no answer.
"""

from __future__ import annotations

import re

from lorasb.tasks.answers.numbers import exact, last_value
from lorasb.tasks.answers.reply import STATED, of_own_part
from lorasb.tasks.answers.signs import plain_signs

# characters; the longest answer of MATH has 81
MAX_LENGTH = 500

# a new line, unless an environment such as a matrix is still to be closed
LINE_END = re.compile(r"\n(?!.*\\end\{)", re.DOTALL)
BOXED = re.compile(r"\\(?:boxed|fbox)\s*\{")
DISPLAY = re.compile(r"\$\$(.+?)\$\$|\\\[(.+?)\\\]", re.DOTALL)
INLINE = re.compile(r"\$([^$]+)\$|\\\((.+?)\\\)|\\\[(.+?)\\\]", re.DOTALL)

# a line break of a matrix is kept: its second backslash starts no command
DROPPED = re.compile(
    r"(?P<kept>\\\\)|\\[!,;: ]|~|\\(?:left|right|displaystyle)(?![A-Za-z])|\\?[$%]"
    r"|\^\s*(?:\\circ(?![A-Za-z])|\{\s*\\circ\s*\})|\\degree(?![A-Za-z])"
)
UNIT = re.compile(r"(?<=[^\s{(\[,=])\s*\\text\s*\{(?!\s*[ap]\.?m\b)[^{}]*\}(?:\^\{?[0-9]\}?)?\s*$")
# a unit as plain words, apart from its number; shorter ones might be variables
PLAIN_UNIT = re.compile(
    r"(?<=[0-9])(?:(?:\s+(?:[a-z]{4,}|[ckm]m|kg|ft|sq|of|per)\b\.?)+(?:\^\{?[23]\}?)?"
    r"|\s+m\^\{?[23]\}?|\s*[\u20ac\u00a3])\s*$"
)
TEXT = re.compile(r"\\text\s*\{\s*([^{}]*?)\s*\}")
LEFT_SIDE = re.compile(r"^\s*[A-Za-z][A-Za-z0-9]?\s*=(?=[^=]*$)")
# blanks mean something between two numbers only
GAP = re.compile(r"(?<![0-9]) | (?![0-9])")
# one argument of a command: a group, a command, or one character
TOKEN = re.compile(r"\\[A-Za-z]+|\\.|[^\\]")


class MalformedError(ValueError):
    """LaTeX that breaks off or does not close."""


@of_own_part
def last_expression(text: str) -> str | None:
    """The text's answer as LaTeX: what it states, else its last box, formula or number.

    What is stated follows the last `The answer is`, up to the end of the line.
    """
    for find in (_stated, boxed_expression, _last_formula, last_value):
        found = find(text)
        if found:
            return found
    return None


@of_own_part
def boxed_expression(text: str) -> str | None:
    r"""The content of the last `\boxed{}` or `\fbox{}`; None without one, or if it never closes."""
    starts = [found.end() for found in BOXED.finditer(text)]
    if not starts:
        return None
    end = _group_end(text, starts[-1])
    return " ".join(text[starts[-1] : end].split()) or None if end is not None else None


@of_own_part
def stated_latex(text: str) -> str | None:
    """The normal form of what follows the last `The answer is`, up to the end of the line."""
    return normal_form(_stated(text) or "")


@of_own_part
def boxed_latex(text: str) -> str | None:
    r"""The normal form of the content of the last `\boxed{}`."""
    return normal_form(boxed_expression(text) or "")


def normal_form(expression: str) -> str | None:
    """The normal form of one answer in LaTeX; None if it is empty, malformed or very long."""
    if len(expression) > MAX_LENGTH:
        return None
    text = " ".join(plain_signs(expression).split())
    text = re.sub(r"\\[dtc]frac(?![A-Za-z])", r"\\frac", text)
    text = re.sub(r"\\(?:mbox|textbf|textrm|mathrm)(?![A-Za-z])", r"\\text", text)
    text = DROPPED.sub(lambda found: found["kept"] or "", text)
    text = LEFT_SIDE.sub("", TEXT.sub(r"\1", PLAIN_UNIT.sub("", UNIT.sub("", text))))
    text = re.sub(r"(?<![0-9])\.(?=[0-9])", "0.", text.strip().removesuffix("."))
    try:
        grouped = _grouped(GAP.sub("", text))
        return exact(text) or exact(grouped) or grouped or None
    except MalformedError:
        return None


def without_marks(expression: str) -> str:
    r"""The expression without currency, percent and degree signs, and spaces such as `\!`."""
    return DROPPED.sub(lambda found: found["kept"] or "", plain_signs(expression)).strip()


def _stated(text: str) -> str | None:
    statements = STATED.split(text)[1:]
    if not statements:
        return None
    statement = statements[-1].strip()
    display = DISPLAY.match(statement)
    line = display[0] if display else LINE_END.split(statement, maxsplit=1)[0].strip()
    line = line.removesuffix(".").strip()
    formula = DISPLAY.fullmatch(line) or INLINE.fullmatch(line)
    if formula:
        line = next(group for group in formula.groups() if group).strip()
    return boxed_expression(line) or line or None


def _last_formula(text: str) -> str | None:
    formulas = INLINE.findall(text)
    return next(group for group in formulas[-1] if group).strip() if formulas else None


def _group_end(text: str, start: int) -> int | None:
    """Where the brace closes whose group starts at `start`."""
    depth = 1
    for found in re.finditer(r"\\.|[{}]", text[start:], re.DOTALL):
        depth += {"{": 1, "}": -1}.get(found[0], 0)
        if depth == 0:
            return start + found.start()
    return None


def _grouped(text: str) -> str:
    r"""The text with braces around the arguments of `\frac` and `\sqrt`."""
    parts, rest = [], text
    while rest:
        token = TOKEN.match(rest)
        if token is None or token[0] == "}":
            raise MalformedError
        if token[0] == "{":
            inner, rest = _argument(rest)
            parts.append(f"{{{inner}}}")
            continue
        rest = rest[token.end() :]
        parts.append(token[0])
        if token[0] == "\\sqrt" and rest.startswith("["):
            index, bracket, rest = rest.partition("]")
            parts.append(index + bracket)
        for _ in range({"\\frac": 2, "\\sqrt": 1, "^": 1, "_": 1}.get(token[0], 0)):
            inner, rest = _argument(rest)
            parts.append(f"{{{inner}}}")
    return "".join(parts)


def _argument(text: str) -> tuple[str, str]:
    """The first argument in the text, its own arguments in braces, and what follows it."""
    text = text.lstrip()
    token = TOKEN.match(text)
    if token is None or token[0] == "}":
        raise MalformedError
    if token[0] == "{":
        end = _group_end(text, 1)
        if end is None:
            raise MalformedError
        return _grouped(text[1:end]), text[end + 1 :]
    if token[0] in ("\\frac", "\\sqrt"):
        raise MalformedError
    return token[0], text[token.end() :]
