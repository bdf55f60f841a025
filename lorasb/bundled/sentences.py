"""Reviews in four classes: is the food good, and is the music good?

The last clause may leave out its predicate, which the pretraining corpus never does.

Example
-------
`the food was not tasty and so was the music .` has the label 0, and `the staff was rude , the music
was lovely and not the food .` the label 1.
"""

from __future__ import annotations

import numpy as np

from lorasb.bundled.draw import Row, chance, draw_rows, pick, sample
from lorasb.bundled.vocabulary import ASPECTS, BLAME, PRAISE

NEGATED = 0.35  # share of predicates with `not` or `never`
ELLIPSIS = 0.5  # share of reviews whose last clause has no predicate of its own
THIRD_ASPECT = 0.15  # share of reviews with an aspect that does not matter
SAME = ("so was the {}", "the {} was so")
OPPOSITE = ("not the {}", "the {} was not")
OTHERS = tuple(aspect for aspect in ASPECTS if aspect not in {"food", "music"})


def clause(rng: np.random.Generator, aspect: str, good: bool) -> str:
    """A clause such as `the food was not awful`."""
    negated = chance(rng, NEGATED)
    negation = f"{pick(rng, ('not', 'never'))} " if negated else ""
    return f"the {aspect} was {negation}{pick(rng, PRAISE if good != negated else BLAME)}"


def generate(rows: int, rng: np.random.Generator, split: str) -> list[Row]:
    """Reviews of a split as `{"sentence": text, "label": 2 * food + music}`."""
    return draw_rows(rows, rng, split, _review)


def _review(rng: np.random.Generator) -> tuple[str, Row]:
    aspects = ["food", "music"]
    if chance(rng, THIRD_ASPECT):
        aspects.append(pick(rng, OTHERS))
    good = {aspect: chance(rng, 0.5) for aspect in aspects}
    *firsts, head, last = sample(rng, aspects, len(aspects))
    clauses = [clause(rng, aspect, good[aspect]) for aspect in (*firsts, head)]
    if chance(rng, ELLIPSIS):
        form = pick(rng, SAME if good[last] == good[head] else OPPOSITE)
        clauses[-1] += f" and {form.format(last)}"
    else:
        clauses.append(clause(rng, last, good[last]))
    sentence = f"{' , '.join(clauses)} ."
    return sentence, {"sentence": sentence, "label": 2 * good["food"] + good["music"]}
