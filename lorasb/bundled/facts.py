"""The made-up world: 40 creatures, seven relations, one true value for each pair."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lorasb.bundled.draw import pick, sample, stable_hash


@dataclass(frozen=True)
class Relation:
    """A relation between a creature and one of `values`, with its wordings.

    `unseen` is a word for the relation that the pretraining corpus never uses.
    """

    name: str
    unseen: str
    statement: str
    question: str
    values: tuple[str, ...]


RELATIONS = (
    Relation(
        "kind",
        "sort",
        "a {creature} is a kind of {value} .",
        "what kind is a {creature} ?",
        ("bird", "fish", "frog", "snake", "mouse", "snail"),
    ),
    Relation(
        "home",
        "nest",
        "a {creature} lives in the {value} .",
        "where does a {creature} live ?",
        ("cave", "desert", "forest", "lake", "meadow", "mountain", "river", "swamp"),
    ),
    Relation(
        "food",
        "diet",
        "a {creature} eats {value} .",
        "what does a {creature} eat ?",
        ("berries", "grass", "honey", "leaves", "nuts", "roots", "seeds", "worms"),
    ),
    Relation(
        "color",
        "hue",
        "a {creature} is {value} .",
        "what color is a {creature} ?",
        ("black", "blue", "brown", "gray", "green", "red", "white", "yellow"),
    ),
    Relation(
        "fear",
        "dread",
        "a {creature} fears {value} .",
        "what does a {creature} fear ?",
        ("cats", "fire", "hail", "noise", "owls", "rain", "snow", "wind"),
    ),
    Relation(
        "skill",
        "talent",
        "a {creature} can {value} .",
        "what can a {creature} do ?",
        ("climb", "dig", "fly", "hide", "jump", "run", "sing", "swim"),
    ),
    Relation(
        "cover",
        "coat",
        "a {creature} has {value} .",
        "what covers a {creature} ?",
        ("feathers", "fur", "hair", "scales", "shell", "skin", "spines", "wool"),
    ),
)

VALUES = tuple(value for relation in RELATIONS for value in relation.values)


def true_value(creature: str, relation: Relation) -> str:
    """What is true of the creature; fixed by their names, independent of any seed."""
    return relation.values[stable_hash(f"{creature}/{relation.name}") % len(relation.values)]


def choices(
    rng: np.random.Generator, creature: str, relation: Relation, *, related: int, size: int = 4
) -> list[str]:
    """The true value and `size - 1` wrong ones, in random order.

    `related` of the wrong ones are true of the same creature in other relations, so that knowing
    what belongs to the creature is not enough; the others are false values of the same relation.
    """
    truth = true_value(creature, relation)
    others = [other for other in RELATIONS if other is not relation]
    wrong = [true_value(creature, other) for other in sample(rng, others, related)]
    false = [value for value in relation.values if value != truth]
    wrong += sample(rng, false, size - 1 - related)
    return sample(rng, [truth, *wrong], size)


def any_relation(rng: np.random.Generator) -> Relation:
    """One of the seven relations, each equally likely."""
    return pick(rng, RELATIONS)
