from __future__ import annotations

import numpy as np
import pytest

from analysis import stats
from analysis.tables import accuracy
from tests.analysis.conftest import MODEL, NAMES, make_tables


def failed(runs, **where):
    """The runs with those of some coordinates failed."""
    rows = np.logical_and.reduce([runs[name] == value for name, value in where.items()])
    runs = runs.copy()
    runs.loc[rows, ["status", "reason", "score"]] = ["failed", "loss is not finite", np.nan]
    return runs


def row(table, **where):
    rows = np.logical_and.reduce([table[name] == value for name, value in where.items()])
    (found,) = table[rows].itertuples(index=False)
    return found


def test_cell_is_the_t_interval_of_its_seeds(tables):
    table = accuracy.accuracy(tables.runs, NAMES)
    found = row(table, task="world", variant="lora-sb", rank=16)
    scores = tables.runs.query("task == 'world' and variant == 'lora-sb' and rank == 16")["score"]
    expected = stats.mean_interval(scores.to_numpy())
    assert (found.mean, found.low, found.high, found.n) == pytest.approx(
        (expected.mean, expected.low, expected.high, 3)
    )
    assert found.model == MODEL


def test_mean_over_tasks_averages_each_seed_first(tables):
    found = row(accuracy.accuracy(tables.runs, NAMES), task="mean", variant="lora", rank=8)
    lora = tables.runs[tables.runs["variant"] == "lora"]
    expected = stats.mean_interval(lora.groupby("seed")["score"].mean().to_numpy())
    assert (found.mean, found.low, found.n) == pytest.approx((expected.mean, expected.low, 3))


def test_a_failed_seed_lowers_n_and_is_named(tables):
    runs = failed(tables.runs, task="world", variant="lora", seed=1)
    table = accuracy.accuracy(runs, NAMES)
    assert row(table, task="world", variant="lora", rank=8).n == 2
    assert row(table, task="arithmetic", variant="lora", rank=8).n == 3
    assert row(table, task="mean", variant="lora", rank=8).n == 2
    note = accuracy.notes(runs, NAMES)[1]
    assert "World, LoRA, r = 8, seed 1 (loss is not finite)" in note
    assert len(accuracy.notes(tables.runs, NAMES)) == 1


def test_a_method_that_failed_everywhere_keeps_its_row(tables):
    runs = failed(tables.runs, variant="lora-sb", rank=4)
    printed = accuracy.printed(accuracy.accuracy(runs, NAMES), runs, NAMES)
    line = printed[(printed["Method"] == "LoRA-SB") & (printed["Rank"] == "4")].iloc[0]
    assert set(line[2:]) == {"–"}  # noqa: RUF001


def test_printed_has_a_row_a_method_and_rank_and_a_column_a_task(tables):
    printed = accuracy.printed(accuracy.accuracy(tables.runs, NAMES), tables.runs, NAMES)
    assert list(printed.columns) == [
        "Method",
        "Rank",
        "Arithmetic, accuracy",
        "World, accuracy",
        "Sentences, accuracy",
        "Mean over tasks",
    ]
    assert list(printed["Method"]) == [
        "base model",
        "full fine-tuning",
        "LoRA",
        *["LoRA-XS"] * 2,
        *["LoRA-SB"] * 2,
    ]
    assert printed["World, accuracy"][0] == "12.0 (1)"
    assert printed["World, accuracy"].iloc[1:].str.fullmatch(r"\d+\.\d ± \d+\.\d \(3\)").all()


def test_one_task_has_no_mean_over_tasks():
    runs = make_tables(tasks=1).runs
    assert "Mean over tasks" not in accuracy.printed(accuracy.accuracy(runs, NAMES), runs, NAMES)


def test_models_are_told_apart(tables):
    import pandas as pd

    runs = pd.concat([tables.runs, tables.runs.assign(model="other")], ignore_index=True)
    printed = accuracy.printed(accuracy.accuracy(runs, NAMES), runs, NAMES)
    assert list(printed["Model"]) == ["Quickstart Llama"] * 7 + ["other"] * 7
