from __future__ import annotations

import math

import pytest

from lorasb.errors import UserError
from lorasb.tasks.task import Task
from lorasb.tasks.values import check_values, left_out
from tests.unit.text import generation_task, labelled_task, regression_task

PAIR = {"columns": {"text": ["a", "b"], "label": "label"}}


def refused(task: Task, **row: object) -> str:
    with pytest.raises(UserError) as raised:
        check_values(task, [{"item": 7, **row}], "here")
    message = str(raised.value)
    assert message.startswith("here, row 7: '")
    assert "\n" not in message
    return message


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        (5, "is 5, not a text"),
        (2.5, "is 2.5, not a text"),
        (True, "is True, not a text"),
        (["w5", "w6"], "is ['w5', 'w6'], not a text"),
        ({"en": "w5"}, "is {'en': 'w5'}, not a text"),
        (b"w5", "is b'w5', not a text"),
        (None, "has no value"),
        (math.nan, "has no value"),
    ],
)
def test_texts_are_texts(value, problem):
    assert refused(labelled_task(), sentence=value, label=0).endswith(f"'sentence' {problem}")
    assert refused(labelled_task(**PAIR), a="w5", b=value, label=0).endswith(f"'b' {problem}")


@pytest.mark.parametrize("value", [["w5"], {"a": 1}, None, math.nan, b"w5", []])
def test_templates_take_texts_and_numbers_alone(value):
    task = generation_task(prompt="{question} {number}")
    right = {"question": "w5", "number": 3, "answer": 2.5}
    check_values(task, [{"item": 0, **right}], "here")
    for name in right:
        assert f"'{name}' " in refused(task, **right | {name: value})


def test_a_long_value_is_shortened():
    assert len(refused(labelled_task(), sentence=["w5"] * 1000, label=0)) < 100


@pytest.mark.parametrize("label", [-1, 2, 0.5, "1", None, [0], math.nan])
def test_classes_are_numbers_in_range(label):
    assert "'label' " in refused(labelled_task(), sentence="w5", label=label)


def test_names_of_classes_are_explained():
    assert "classes are numbers, give each name one" in refused(
        labelled_task(), sentence="w5", label="positive"
    )


@pytest.mark.parametrize("label", [-1, None])
def test_the_option_for_rows_without_a_label_is_named(label):
    message = refused(labelled_task(), sentence="w5", label=label)
    assert "drop_rows: [unlabelled]" in message


@pytest.mark.parametrize("label", [math.inf, None, "3", math.nan])
def test_numbers_are_finite(label):
    assert "'label' " in refused(regression_task(), sentence="w5", label=label)
    check_values(regression_task(), [{"item": 0, "sentence": "w5", "label": -1}], "here")


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"a": "w5", "b": "w6", "label": 0}, None),
        ({"a": "w5", "b": "w6", "label": -1}, "unlabelled"),
        ({"a": "w5", "b": "w6", "label": None}, "unlabelled"),
        ({"a": "w5", "b": " \n", "label": 1}, "blank"),
        ({"a": None, "b": "w6", "label": 1}, "blank"),
        ({"a": "", "b": "w6", "label": -1}, "unlabelled"),
    ],
)
def test_rows_that_are_left_out(row, reason):
    both = labelled_task(**PAIR, drop_rows=["unlabelled", "blank"])
    assert left_out(both, row) == reason
    assert left_out(labelled_task(**PAIR), row) is None
    if reason:
        check_values(both, [{"item": 0, **row}], "here")
        one = labelled_task(**PAIR, drop_rows=[reason])
        assert left_out(one, row) == reason


def test_minus_one_is_a_number_and_an_answer():
    assert (
        left_out(regression_task(drop_rows=["unlabelled"]), {"sentence": "a", "label": -1}) is None
    )
    task = generation_task(drop_rows=["unlabelled"])
    assert left_out(task, {"question": "a", "answer": -1}) is None
    assert left_out(task, {"question": "a", "answer": None}) == "unlabelled"
