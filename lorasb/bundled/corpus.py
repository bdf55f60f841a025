"""The pretraining corpus: short documents of eight kinds, generated without end.

It holds what the task families build on (sums, facts, look-ups, opinions) but not their forms:
no story of several events ends in a question, no list of options follows a question, and no clause
lacks its predicate.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from lorasb.bundled.arithmetic import draw_count, tell
from lorasb.bundled.draw import chance, pick, sample
from lorasb.bundled.facts import VALUES, any_relation, choices, true_value
from lorasb.bundled.sentences import clause
from lorasb.bundled.vocabulary import ASPECTS, CREATURES, OPTIONS, PERSONS, THINGS


def sums(rng: np.random.Generator) -> str:
    """Such as `12 + 6 = 18 , 18 - 4 = 14 .`"""
    return f"{draw_count(rng, '', '', int(rng.integers(1, 4))).working()} ."


def stories(rng: np.random.Generator) -> str:
    """One or two persons and what one of them has in the end, worked out."""
    person, other = sample(rng, PERSONS, 2)
    things = pick(rng, THINGS)
    count = draw_count(rng, person, things, int(rng.integers(1, 4)))
    counts = [count]
    if chance(rng, 0.5):
        counts.append(draw_count(rng, other, things, int(rng.integers(2))))
    ending = f"so {person} has"
    if len(count.changes) == 1 and chance(rng, 0.5):
        ending = f"question : what does {person} have ? answer :"
    return f"{tell(rng, counts)} {ending} {count.working()} {things} ."


def recall(rng: np.random.Generator) -> str:
    """Two or three persons' counts and a question about one of them."""
    persons = sample(rng, PERSONS, int(rng.integers(2, 4)))
    counts = [draw_count(rng, person, pick(rng, THINGS), 0) for person in persons]
    asked = pick(rng, counts)
    question = f"question : how many {asked.things} does {asked.person} have ?"
    return f"{tell(rng, counts)} {question} answer : {asked.start} ."


def facts(rng: np.random.Generator) -> str:
    """Such as `a kuni lives in the desert .`"""
    creature, relation = pick(rng, CREATURES), any_relation(rng)
    return relation.statement.format(creature=creature, value=true_value(creature, relation))


def fact_questions(rng: np.random.Generator) -> str:
    """Such as `question : where does a kuni live ? answer : desert .`"""
    creature, relation = pick(rng, CREATURES), any_relation(rng)
    question = relation.question.format(creature=creature)
    return f"question : {question} answer : {true_value(creature, relation)} ."


def fact_choices(rng: np.random.Generator) -> str:
    """Such as `question : what can a kuni do ? choices : fly dig run sing . answer : dig .`"""
    creature, relation = pick(rng, CREATURES), any_relation(rng)
    related = int(rng.integers(1, 3)) if chance(rng, 0.6) else 0
    listed = " ".join(choices(rng, creature, relation, related=related))
    question = relation.question.format(creature=creature)
    return f"question : {question} choices : {listed} . answer : {true_value(creature, relation)} ."


def option_lists(rng: np.random.Generator) -> str:
    """Four options and three look-ups; fewer look-ups are not learnt in reasonable time."""
    kind = rng.random()
    pool = any_relation(rng).values if kind < 0.3 else VALUES if kind < 0.8 else CREATURES
    values = sample(rng, pool, len(OPTIONS))
    listed = " ".join(f"{option} {value}" for option, value in zip(OPTIONS, values, strict=True))
    asked = sample(rng, range(len(OPTIONS)), 3)
    return f"{listed} . " + " ".join(f"{values[i]} is {OPTIONS[i]} ." for i in asked)


def reviews(rng: np.random.Generator) -> str:
    """Opinions on two or three aspects, then what follows for some of them."""
    aspects = sample(rng, ASPECTS, int(rng.integers(2, 4)))
    good = [chance(rng, 0.5) for _ in aspects]
    text = " , ".join(clause(rng, *pair) for pair in zip(aspects, good, strict=True))
    if chance(rng, 0.4):
        asked = int(rng.integers(len(aspects)))
        verdict = "yes" if good[asked] else "no"
        return f"{text} . question : is the {aspects[asked]} good ? answer : {verdict} ."
    told = [
        f"the {aspects[i]} is {'good' if good[i] else 'bad'}"
        for i in sample(rng, range(len(aspects)), 2)
    ]
    return f"{text} . so {' and '.join(told)} ."


@dataclass(frozen=True)
class SentenceKind:
    """A kind of document, its share of all documents, and where its probed token stands.

    The probed token follows from the text before it; -2 is the one before the closing full stop.
    """

    write: Callable[[np.random.Generator], str]
    share: float
    probed: int = -2


KINDS = {
    "sums": SentenceKind(sums, 0.06),
    "stories": SentenceKind(stories, 0.20, probed=-3),
    "recall": SentenceKind(recall, 0.07),
    "facts": SentenceKind(facts, 0.06),
    "fact_questions": SentenceKind(fact_questions, 0.06),
    "fact_choices": SentenceKind(fact_choices, 0.18),
    "option_lists": SentenceKind(option_lists, 0.26),
    "reviews": SentenceKind(reviews, 0.11),
}


def write_documents(count: int, rng: np.random.Generator) -> list[str]:
    """`count` documents of all kinds, by their shares."""
    kinds = list(KINDS.values())
    drawn = rng.choice(len(kinds), size=count, p=[kind.share for kind in kinds])
    return [kinds[index].write(rng) for index in drawn]
