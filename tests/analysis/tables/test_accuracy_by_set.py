from __future__ import annotations

import pandas as pd
import pytest

from analysis import stats
from analysis.tables import accuracy_by_set
from tests.analysis.conftest import NAMES


def test_cell_is_the_t_interval_of_the_seeds_primary_scores(tables):
    table = accuracy_by_set.by_set(tables.scores, NAMES)
    (found,) = table.query("variant == 'lora' and set == 'math'").itertuples()
    scores = tables.runs.query("task == 'world' and variant == 'lora'")["score"]
    expected = stats.mean_interval(scores.to_numpy() - 0.05)
    assert (found.mean, found.low, found.high, found.n) == pytest.approx(
        (expected.mean, expected.low, expected.high, 3)
    )
    assert set(table["metric"]) == {"accuracy_flexible"}


def test_only_tasks_with_sets_have_columns_and_the_mean_is_last(tables):
    table = accuracy_by_set.by_set(tables.scores, NAMES)
    assert set(table["task"]) == {"world"}
    printed = accuracy_by_set.printed(table, tables.runs, NAMES)
    assert list(printed.columns) == [
        *("Method", "Rank", "GSM8K, accuracy", "MATH, accuracy", "Mean of sets, accuracy")
    ]
    assert printed["GSM8K, accuracy"][0] == "17.0 (1)"
    assert len(printed) == 7


def test_a_method_without_a_score_keeps_its_row(tables):
    scores = tables.scores.query("variant != 'full'")
    printed = accuracy_by_set.printed(accuracy_by_set.by_set(scores, NAMES), tables.runs, NAMES)
    full = printed[printed["Method"] == "full fine-tuning"].iloc[0]
    assert set(full[1:]) == {"–"}  # noqa: RUF001


def test_tasks_are_named_where_several_have_sets(tables):
    other = tables.scores.query("task == 'world'").assign(task="commonsense")
    both = pd.concat([tables.scores, other], ignore_index=True)
    printed = accuracy_by_set.printed(accuracy_by_set.by_set(both, NAMES), tables.runs, NAMES)
    assert list(printed.columns)[2:] == [
        *("World: GSM8K, accuracy", "World: MATH, accuracy", "World: Mean of sets, accuracy"),
        *("Commonsense: GSM8K, accuracy", "Commonsense: MATH, accuracy"),
        "Commonsense: Mean of sets, accuracy",
    ]
