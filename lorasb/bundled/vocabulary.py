"""Every word of the generated world; the tokenizer has one token a word."""

from __future__ import annotations

LARGEST_NUMBER = 40

PUNCTUATION = (".", ",", ":", "?", "+", "-", "=")

FRAME = (
    *("a", "and", "answer", "can", "choices", "color", "covers", "do", "does", "eat", "eats"),
    *("fear", "fears", "good", "bad", "has", "have", "how", "in", "is", "kind", "live", "lives"),
    *("many", "never", "no", "not", "of", "question", "so", "the", "was", "what", "where", "yes"),
)

OPTIONS = ("option1", "option2", "option3", "option4")

PERSONS = ("ann", "ben", "bob", "eva", "ida", "joy", "kim", "leo", "liz", "max", "sam", "tom")
THINGS = ("apples", "books", "cards", "coins", "cups", "pens", "plums", "stones")
GAINS = ("buys", "finds", "gets", "picks")
LOSSES = ("drops", "gives", "loses", "sells")

CREATURES = tuple(
    first + second
    for first in ("be", "du", "fo", "gi", "ku", "la", "mo", "nu")
    for second in ("bu", "di", "ni", "ro", "za")
)

ASPECTS = ("food", "music", "price", "room", "staff")
PRAISE = ("clean", "fine", "great", "lovely", "nice", "tasty")
BLAME = ("awful", "dirty", "dull", "nasty", "poor", "rude")
