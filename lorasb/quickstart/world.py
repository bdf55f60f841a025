"""Multiple choice about the made-up world; what is asked is known from pretraining only.

Example
-------
`question : what does a bebu fear ? option1 cats option2 fire option3 honey option4 rain . answer :`
is answered by `rain is option4 .`
"""

from __future__ import annotations

import numpy as np

from lorasb.quickstart.draw import chance, check_split, pick, split_of
from lorasb.quickstart.facts import RELATIONS, Relation, choices, true_value
from lorasb.quickstart.vocabulary import CREATURES, OPTIONS

UNSEEN_WORDING = 0.5  # share of questions that name the relation by a word new to the model
RELATED_CHOICES = 2  # wrong options that are true of the creature in another relation


def pairs(split: str) -> list[tuple[str, Relation]]:
    """The (creature, relation) pairs that only this split asks about."""
    check_split(split)
    return [
        (creature, relation)
        for creature in CREATURES
        for relation in RELATIONS
        if split_of(f"{creature}/{relation.name}") == split
    ]


def generate(rows: int, rng: np.random.Generator, split: str) -> list[dict[str, str]]:
    """Questions of a split as `{"question": prompt, "answer": value and option}`."""
    asked = pairs(split)
    return [_question(rng, *pick(rng, asked)) for _ in range(rows)]


def _question(rng: np.random.Generator, creature: str, relation: Relation) -> dict[str, str]:
    values = choices(rng, creature, relation, related=RELATED_CHOICES)
    listed = " ".join(f"{option} {value}" for option, value in zip(OPTIONS, values, strict=True))
    if chance(rng, UNSEEN_WORDING):
        asked = f"{creature} {relation.unseen} ?"
    else:
        asked = relation.question.format(creature=creature)
    truth = true_value(creature, relation)
    return {
        "question": f"question : {asked} {listed} . answer :",
        "answer": f"{truth} is {OPTIONS[values.index(truth)]} .",
    }
