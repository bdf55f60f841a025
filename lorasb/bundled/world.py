"""Multiple choice about the made-up world; what is asked is known from pretraining only.

Example
-------
`question : what does a bebu fear ? option1 cats option2 fire option3 honey option4 rain . answer :`
is answered by `rain is option4 .`
"""

from __future__ import annotations

import numpy as np

from lorasb.bundled.draw import Row, chance, draw_rows, pick
from lorasb.bundled.facts import any_relation, choices, true_value
from lorasb.bundled.vocabulary import CREATURES, OPTIONS

UNSEEN_WORDING = 0.5  # share of questions that name the relation by a word new to the model
RELATED_CHOICES = 2  # wrong options that are true of the creature in another relation


def generate(rows: int, rng: np.random.Generator, split: str) -> list[Row]:
    """Questions of a split as `{"question": prompt, "answer": value and option}`.

    No creature's relation is asked about in more than one split.
    """
    return draw_rows(rows, rng, split, _question)


def _question(rng: np.random.Generator) -> tuple[str, Row]:
    creature, relation = pick(rng, CREATURES), any_relation(rng)
    values = choices(rng, creature, relation, related=RELATED_CHOICES)
    listed = " ".join(f"{option} {value}" for option, value in zip(OPTIONS, values, strict=True))
    if chance(rng, UNSEEN_WORDING):
        asked = f"{creature} {relation.unseen} ?"
    else:
        asked = relation.question.format(creature=creature)
    truth = true_value(creature, relation)
    return f"{creature}/{relation.name}", {
        "question": f"question : {asked} {listed} . answer :",
        "answer": f"{truth} is {OPTIONS[values.index(truth)]} .",
    }
