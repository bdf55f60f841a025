"""Reviews in four classes: is the food good, and is the music good?

A later clause may leave out its predicate, which the pretraining corpus never does.

Example
-------
`the food was not tasty and so was the music , the price was fine .` has the label 0, and `the music
was lovely and not the food , the staff was rude .` the label 1.
"""

from __future__ import annotations

import numpy as np

from lorasb.quickstart.draw import chance, check_split, pick, sample, split_of
from lorasb.quickstart.vocabulary import ASPECTS, BLAME, PRAISE

NEGATED = 0.35  # share of predicates with `not` or `never`
ELLIPSIS = 0.5  # share of later clauses without a predicate of their own
OTHERS = tuple(aspect for aspect in ASPECTS if aspect not in {"food", "music"})


def clause(rng: np.random.Generator, aspect: str, good: bool) -> str:
    """A clause such as `the food was not awful`."""
    negated = chance(rng, NEGATED)
    negation = f"{pick(rng, ('not', 'never'))} " if negated else ""
    return f"the {aspect} was {negation}{pick(rng, PRAISE if good != negated else BLAME)}"


def generate(rows: int, rng: np.random.Generator, split: str) -> list[dict[str, str | int]]:
    """Reviews of a split as `{"sentence": text, "label": 2 * food + music}`."""
    check_split(split)
    reviews: list[dict[str, str | int]] = []
    while len(reviews) < rows:
        review = _review(rng)
        if split_of(str(review["sentence"])) == split:
            reviews.append(review)
    return reviews


def _review(rng: np.random.Generator) -> dict[str, str | int]:
    good = {aspect: chance(rng, 0.5) for aspect in ("food", "music", pick(rng, OTHERS))}
    first, *later = sample(rng, list(good), len(good))
    text, head = clause(rng, first, good[first]), first
    for aspect in later:
        if chance(rng, ELLIPSIS):
            same = good[aspect] == good[head]
            text += f" and so was the {aspect}" if same else f" and not the {aspect}"
        else:
            text += f" , {clause(rng, aspect, good[aspect])}"
            head = aspect
    return {"sentence": f"{text} .", "label": 2 * good["food"] + good["music"]}
