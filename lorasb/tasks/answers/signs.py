"""Plain signs in place of those of typography and LaTeX, so that a number has fewer spellings."""

from __future__ import annotations

import re
import unicodedata

# U+2010 hyphen to U+2015 bar, minus, and the small and wide hyphens
DASHES = "\u2010\u2011\u2012\u2013\u2014\u2015\u2212\ufe58\ufe63\uff0d"
# blanks that do not break or are thin; they stand inside a number, and seldom between two
THIN = "\u00a0\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u202f"
INVISIBLE = "\u200b\u200c\u200d\u2060\ufeff"
PLAIN = str.maketrans(
    dict.fromkeys(DASHES, "-")
    | dict.fromkeys(INVISIBLE, "")
    | {"\u2044": "/", "\u2215": "/", "\u2236": ":", "\uff1a": ":", "\uff0c": ",", "\u2019": "'"}
)
SUPERSCRIPT = re.compile("[\u207a\u207b]?[\u00b2\u00b3\u00b9\u2070\u2074-\u2079]+")
VULGAR = re.compile("(?P<whole>[0-9] ?)?(?P<fraction>[\u00bc-\u00be\u2150-\u215e\u2189])")
# thousands set apart by a thin blank, of a font or of LaTeX
THIN_GROUP = re.compile(
    rf"(?<=[0-9])(?:[{THIN}]|\\[,;: ]|~|\\thinspace|\{{,\}}|,\s*\\!\s*|\\!)(?=[0-9]{{3}}(?![0-9]))"
)


def plain_signs(text: str) -> str:
    r"""Dashes as `-`, powers as `^2`, fractions as `1/2`, thin blanks between thousands as commas.

    `2\u00bd` becomes `2 1/2`, `10\,000` and `10{,}000` become `10,000`.
    """
    text = SUPERSCRIPT.sub(lambda found: "^" + _compatible(found[0]), text)
    text = VULGAR.sub(_spelled, text).translate(PLAIN)
    text = THIN_GROUP.sub(",", text)
    return re.sub(f"[{THIN}]", " ", text)


def _spelled(found: re.Match[str]) -> str:
    whole = found["whole"]
    return (f"{whole.strip()} " if whole else "") + _compatible(found["fraction"])


def _compatible(text: str) -> str:
    return unicodedata.normalize("NFKC", text)
