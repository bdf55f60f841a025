"""Word problems: a person's count changes twice, and the answer works it out step by step.

Example
-------
`joy has 24 apples . joy picks 1 apples . joy drops 9 apples . question : how many apples does joy
have ? answer :` is answered by `24 + 1 = 25 , 25 - 9 = 16 .`
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lorasb.bundled.draw import Row, chance, draw_rows, pick, sample
from lorasb.bundled.vocabulary import GAINS, LARGEST_NUMBER, LOSSES, PERSONS, THINGS

CHANGES = 2
SECOND_PERSON = 0.4  # share of problems in which somebody else's count changes too


@dataclass(frozen=True)
class Count:
    """How many things a person has at first, and by how much that changes."""

    person: str
    things: str
    start: int
    changes: tuple[int, ...]

    def opening(self) -> str:
        """The sentence that tells the first count."""
        return f"{self.person} has {self.start} {self.things} ."

    def events(self, rng: np.random.Generator) -> list[str]:
        """A sentence for each change."""
        return [
            f"{self.person} {pick(rng, GAINS if change > 0 else LOSSES)} {abs(change)} "
            f"{self.things} ."
            for change in self.changes
        ]

    def working(self) -> str:
        """The steps from the first count to the last, such as `24 + 1 = 25 , 25 - 9 = 16`."""
        steps, total = [], self.start
        for change in self.changes:
            sign = "+" if change > 0 else "-"
            steps.append(f"{total} {sign} {abs(change)} = {total + change}")
            total += change
        return " , ".join(steps)


def draw_count(rng: np.random.Generator, person: str, things: str, changes: int) -> Count:
    """A count that stays within 0 and the largest number and differs after every change."""
    totals = [int(rng.integers(LARGEST_NUMBER + 1))]
    for _ in range(changes):
        step = int(rng.integers(1, LARGEST_NUMBER + 1))
        totals.append((totals[-1] + step) % (LARGEST_NUMBER + 1))
    return Count(person, things, totals[0], tuple(int(step) for step in np.diff(totals)))


def tell(rng: np.random.Generator, counts: list[Count]) -> str:
    """The openings in random order, then all events; each person's own stay in their order."""
    openings = [count.opening() for count in sample(rng, counts, len(counts))]
    waiting = [count.events(rng) for count in counts]
    turns = [index for index, events in enumerate(waiting) for _ in events]
    events = [waiting[index].pop(0) for index in sample(rng, turns, len(turns))]
    return " ".join(openings + events)


def generate(rows: int, rng: np.random.Generator, split: str) -> list[Row]:
    """Problems of a split as `{"question": prompt, "answer": steps}`.

    No chain of steps is in more than one split.
    """
    return draw_rows(rows, rng, split, _problem)


def _problem(rng: np.random.Generator) -> tuple[str, Row]:
    person, other = sample(rng, PERSONS, 2)
    things = pick(rng, THINGS)
    count = draw_count(rng, person, things, CHANGES)
    counts = [count]
    if chance(rng, SECOND_PERSON):
        counts.append(draw_count(rng, other, things, 1))
    question = f"question : how many {things} does {person} have ? answer :"
    answer = f"{count.working()} ."
    return answer, {"question": f"{tell(rng, counts)} {question}", "answer": answer}
