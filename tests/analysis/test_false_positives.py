"""The A/A test on items whose seeds are alike, and on items whose seeds differ."""

from __future__ import annotations

from itertools import cycle
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from analysis.false_positives import Draws, false_positives, main, printed
from analysis.tidy import TableError
from tests.analysis.conftest import NAMES, NAMES_TABLE, with_unpredicted

TESTS = 120
# three standard errors of a share of 0.05 of so many tests
NOISE = 3 * np.sqrt(0.05 * 0.95 / TESTS)


def made(accuracies: list[float], items: int = 80, variant: str = "lora") -> pd.DataFrame:
    """One run a seed, each with its own accuracy; which items are right is drawn for each."""
    rng = np.random.default_rng(1)
    runs = []
    for seed, accuracy in enumerate(accuracies):
        right = (rng.random(items) < accuracy).astype(float)
        point = {"model": "quickstart-llama", "task": "world", "variant": variant, "rank": 8}
        run = {"metric": "accuracy", "seed": seed, "item": np.arange(items), "correct": right}
        runs.append(pd.DataFrame(point | run | {"prediction": right, "label": 1.0}))
    return pd.concat(runs, ignore_index=True)


def outcome(items: pd.DataFrame, seeds: int = 0) -> pd.Series:
    return false_positives(items, np.random.default_rng(0), Draws(TESTS, 199, seeds)).iloc[0]


def test_seeds_that_are_alike_are_called_different_in_one_of_twenty_tests_at_most():
    found = outcome(made([0.7] * 8))
    assert (found["seeds"], found["items"], found["tests"]) == (4, 80, TESTS)
    assert found["both"] <= 0.05 + NOISE
    assert found["both"] <= min(found["interval"], found["p_value"])


def test_with_one_seed_a_side_the_test_takes_seeds_for_methods():
    found = outcome(made([0.5, 0.8, 0.95]))
    assert found["seeds"] == 1
    assert found["both"] > 0.3


def test_with_several_seeds_it_does_not():
    assert outcome(made([0.5, 0.8, 0.95, 0.55, 0.85, 0.9]))["both"] <= 0.05 + NOISE


def test_items_without_a_prediction_are_left_out():
    items = made([0.5, 0.8, 0.95, 0.55])
    pd.testing.assert_series_equal(outcome(with_unpredicted(items)), outcome(items))


def test_seeds_may_be_drawn_with_replacement():
    items = made([0.5, 0.8, 0.95])
    found = outcome(items, seeds=3)
    assert found["seeds"] == 3
    assert found["both"] <= 0.05 + NOISE


def test_a_verdict_needs_both(monkeypatch):
    sure, unsure = {"low": 0.1, "high": 0.2}, {"low": -0.1, "high": 0.2}
    results = [sure | {"p_value": 0.9}, unsure | {"p_value": 0.01}, sure | {"p_value": 0.01}]
    given = cycle(SimpleNamespace(**result) for result in results)
    monkeypatch.setattr(
        "analysis.false_positives.stats.paired_difference", lambda *arguments: next(given)
    )
    found = outcome(made([0.6, 0.9]))
    assert list(found[["interval", "p_value", "both"]]) == pytest.approx([2 / 3, 2 / 3, 1 / 3])


def test_runs_that_are_the_same_never_differ():
    items = made([0.7])
    found = outcome(pd.concat([items, items.assign(seed=1)]))
    assert (found["interval"], found["p_value"], found["both"]) == (0, 0, 0)


def test_methods_with_one_seed_are_left_out_and_shares_are_pooled():
    items = pd.concat(
        [made([0.7]), made([0.6, 0.9], variant="full"), made([0.6, 0.9], variant="x")]
    )
    table = false_positives(items, np.random.default_rng(0), Draws(10, 99))
    assert list(table["variant"]) == ["full", "x"]
    text = printed(table, NAMES)
    assert list(text["Tests"]) == [20]
    assert text["Both"][0] == f"{100 * table['both'].mean():.1f} %"


def test_the_table_is_printed_and_written(tmp_path, capsys):
    made([0.6, 0.9]).to_parquet(tmp_path / "items.parquet")
    NAMES_TABLE.to_csv(tmp_path / "names.csv", index=False)
    main([str(tmp_path), "--draws", "5", "--csv", str(tmp_path / "aa.csv")])
    assert "World" in capsys.readouterr().out
    assert pd.read_csv(tmp_path / "aa.csv")["tests"].tolist() == [5]
    with pytest.raises(TableError, match=r"other/items\.parquet: cannot be read"):
        main([str(tmp_path / "other")])
