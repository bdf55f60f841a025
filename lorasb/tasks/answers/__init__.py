"""From a model's text to the answer that is compared with the gold text's.

An extractor takes a text and gives a string in one normal form, or None where there is no answer.
A comparator takes pairs of a found and a gold answer and says which are right. Tasks name them in
rules: a strict one, and a flexible one that forgives words around the answer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from lorasb.tasks.answers import choices, latex, numbers, plain
from lorasb.tasks.answers.verify import math_verify

Extractor = Callable[[str], str | None]
Pairs = Sequence[tuple[str, str]]
Comparator = Callable[[Pairs], list[bool]]

EXTRACTORS: dict[str, Extractor] = {
    function.__name__: function
    for function in (
        plain.whole_answer,
        plain.unmarked_answer,
        numbers.last_value,
        numbers.stated_value,
        numbers.marked_value,
        latex.last_expression,
        latex.boxed_expression,
        latex.stated_latex,
        latex.boxed_latex,
        choices.true_false,
        choices.solution,
        choices.answer,
        choices.ending,
        choices.option,
        choices.choice,
    )
}


def equal(pairs: Pairs) -> list[bool]:
    """Right where the two normal forms are the same."""
    return [found == gold for found, gold in pairs]


COMPARATORS: dict[str, Comparator] = {"equal": equal, "math_verify": math_verify}
