from __future__ import annotations

import pytest

from lorasb.tasks.overlap import Part, drop_overlap, normal_form
from tests.unit.text import LABELLED, generation_task, labelled_task


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Who won?", "who won"),
        ("  who\twon\n", "who won"),
        ("it 's a well-known film .", "It's a well known film"),
        ("“Call me”, he said…", '"Call me" he said'),
        ("the end — of it", "The end of it."),
        ("May, 1999 (in Paris)", "may 1999 in paris"),
        ("6 / 2 =", "6/2="),
        ("Ａ ﬁne\u200b\ufeff film", "a fine film"),  # noqa: RUF001
        ("STRASSE", "straße"),
        ("यह किताब है।", "यह किताब है"),
    ],
)
def test_case_blanks_and_punctuation_do_not_count(one, other):
    assert normal_form(one) == normal_form(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("1.5 apples", "15 apples"),
        ("1 2 3", "12 3"),
        ("from -5 on", "from 5 on"),
        ("12 - 7", "12 * 7"),
        ("x / 2", "x 2"),
        ("50% of them", "50 of them"),
        ("3:4", "34"),
        ("x + y", "x y"),
        (r"\frac{1}{23}", r"\frac{12}{3}"),
        ("किताब", "कताब"),
        ("!!!", "???"),
        ("good film", "bad film"),
    ],
)
def test_words_and_numbers_count(one, other):
    assert normal_form(one) != normal_form(other)


def part(split: str, *texts: str, **spec: str) -> Part:
    """Rows of one column; `spec` is of the split `test`."""
    splits = LABELLED["splits"] | {"test": LABELLED["splits"]["test"] | spec}
    rows = [{"item": i, "sentence": text, "label": 0} for i, text in enumerate(texts)]
    return Part(labelled_task(splits=splits), split, "", rows)


@pytest.mark.parametrize(
    ("form", "kept", "left"),
    [
        ("none", ["A b.", "a b", "c", "c"], 2),
        ("exact", ["A b.", "c", "c"], 2),
        ("normalised", ["c", "c"], 0),
    ],
)
def test_the_form_says_what_is_dropped(form, kept, left):
    training = part("train", "A b.", "a b", "c", "c")
    test = part("test", "a b", "a, b", "d", drop_overlap=form)
    found, (counted,) = drop_overlap(training, [test])
    assert [row["sentence"] for row in found.rows] == kept
    assert found.counts == {"dropped_overlap": 4 - len(kept)}
    assert counted.counts == {"overlap_exact": 1, "overlap_normalised": 2, "overlap_left": left}
    assert counted.rows == test.rows


def test_both_texts_of_a_pair_count_in_their_order():
    task = labelled_task(columns={"text": ["a", "b"], "label": "label"})

    def pairs(split: str, *rows: tuple[str, str]) -> Part:
        return Part(task, split, "", [{"a": a, "b": b, "item": 0} for a, b in rows])

    training = pairs("train", ("x", "y z"), ("p", "q"))
    test = pairs("test", ("X", "Y, z."), ("x y", "z"), ("q", "p"), ("x", "other"))
    _, (counted,) = drop_overlap(training, [test])
    assert counted.counts["overlap_normalised"] == 1


def test_prompts_are_compared_without_what_stands_around_their_columns():
    """The answer is no part of the prompt, and a blank column adds nothing to it."""
    trained = generation_task(prompt="{task}\n{more}\nAnswer:", answer="{answer}")
    asked = generation_task(prompt="Q: {question}", answer="{gold}")
    training = Part(trained, "train", "", [{"task": "Add 1.", "more": " ", "answer": "x"}])
    test = Part(asked, "test", "", [{"question": "add 1", "gold": "y"}])
    _, (counted,) = drop_overlap(training, [test])
    assert counted.counts["overlap_normalised"] == 1
