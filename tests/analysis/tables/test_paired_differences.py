from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from analysis import stats
from analysis.tables import paired_differences
from tests.analysis.conftest import METHODS, NAMES, make_tables, with_unpredicted


def compared(items):
    return paired_differences.paired_differences(
        items, NAMES, np.random.default_rng(0), resamples=400
    )


def test_pairs_are_same_rank_full_and_best_lora_each_once():
    scores = {
        ("base", 0): 0.1,
        ("full", 0): 0.9,
        ("lora", 4): 0.7,
        ("lora", 16): 0.8,
        ("lora-xs", 4): 0.5,
        ("lora-sb", 4): 0.6,
    }
    assert list(paired_differences.pairs(scores, NAMES)) == [
        (("lora-xs", 4), ("lora", 4)),
        (("lora-sb", 4), ("lora", 4)),
        (("lora-sb", 4), ("lora-xs", 4)),
        (("lora", 4), ("full", 0)),
        (("lora-xs", 4), ("full", 0)),
        (("lora-sb", 4), ("full", 0)),
        (("lora", 16), ("full", 0)),
        (("lora-xs", 4), ("lora", 16)),
        (("lora-sb", 4), ("lora", 16)),
    ]


def test_the_best_lora_at_the_same_rank_is_not_compared_twice():
    scores = {("lora", 8): 0.8, ("lora-sb", 8): 0.7}
    assert list(paired_differences.pairs(scores, NAMES)) == [(("lora-sb", 8), ("lora", 8))]


def test_many_comparisons_leave_room_for_a_verdict():
    twins = [(f"lora-sb-n{number}", 16, 7_168, 7_168, 0.8, 0.01) for number in range(12)]
    table = compared(make_tables(tasks=1, methods=[*METHODS, *twins]).items)
    assert len(table) > 100  # of 400 draws none could be told
    low = table.query("variant_a == 'lora-xs' and rank_a == 4 and variant_b == 'full'")
    assert list(low["verdict"]) == ["lower"]


@pytest.mark.parametrize("tasks", [1, 6])
def test_differences_are_those_of_the_items(tasks):
    items = make_tables(tasks=tasks).items
    table = compared(items)
    assert len(table) == (tasks + (tasks > 1)) * 11
    for row in table[table["task"] != "mean"].itertuples():
        task = items[items["task"] == row.task]
        means = [
            np.mean([stats.item_score(row.metric, seed) for _, seed in group.groupby("seed")])
            for variant, rank in ((row.variant_a, row.rank_a), (row.variant_b, row.rank_b))
            for group in [task[(task["variant"] == variant) & (task["rank"] == rank)]]
        ]
        assert row.difference == pytest.approx(means[0] - means[1], abs=1e-12)
        assert row.low <= row.difference <= row.high
        assert row.p_holm >= row.p_value


def test_mean_over_tasks_is_that_of_the_tasks_and_less_sure_of_other_tasks(tables):
    table = compared(tables.items)
    of_mean, by_task = table[table["task"] == "mean"], table[table["task"] != "mean"]
    sides = ["variant_a", "rank_a", "variant_b", "rank_b"]
    expected = by_task.groupby(sides)["difference"].mean()
    found = of_mean.set_index(sides)["difference"]
    assert found.to_dict() == pytest.approx(expected[found.index].to_dict())
    wider = (of_mean["high_tasks"] - of_mean["low_tasks"]) / (of_mean["high"] - of_mean["low"])
    # where the tasks agree it is the same interval from other draws, to a tenth
    assert wider.min() > 0.9
    assert wider.median() > 1.3
    assert by_task["low_tasks"].isna().all()
    assert set(of_mean["items"]) == {180}
    text = paired_differences.printed(table, NAMES)
    assert set(text["for other tasks"][:11]) == {"–"}  # noqa: RUF001
    assert "for other tasks" not in paired_differences.printed(by_task, NAMES)


def test_what_is_the_same_within_a_point_is_said():
    row = {"model": "m", "task": "t", "set": "", "variant_a": "a", "rank_a": 1, "variant_b": "b"}
    row |= {"rank_b": 1, "difference": 0, "low": 0, "high": 0, "low_tasks": 0, "high_tasks": 0}
    row |= {"p_value": 1, "p_holm": 1, "detectable": 0.1, "items": 1, "seeds": 1}
    cases = [("cannot be told", 0.2), ("cannot be told", 0.01), ("higher", 0.2), ("lower", 0.01)]
    table = pd.DataFrame([row | {"verdict": v, "p_equivalent": p} for v, p in cases])
    assert list(paired_differences.printed(table, NAMES)["A is"]) == [
        "cannot be told",
        "the same within 1 point",
        "higher",
        "lower, by less than 1 point",
    ]


def test_evaluation_sets_are_compared_one_by_one():
    items = make_tables(tasks=1).items
    half = items["item"] < items["item"].max() / 2
    table = compared(items.assign(set=np.where(half, "first", "second")))
    assert table["set"].tolist() == ["first"] * 11 + ["second"] * 11
    alone = compared(items[half])
    pd.testing.assert_series_equal(table["difference"][:11], alone["difference"])
    # the family of the adjustment is the task, with all its sets
    assert table["p_holm"].tolist() == pytest.approx(stats.holm(table["p_value"]))
    tasks = set(paired_differences.printed(table.replace("first", "gsm8k"), NAMES)["Task"])
    assert tasks == {"Arithmetic, GSM8K", "Arithmetic, second"}


@pytest.mark.parametrize("tasks", [1, 2])
def test_items_without_a_prediction_are_left_out(tasks):
    items = make_tables(tasks=tasks).items
    pd.testing.assert_frame_equal(compared(with_unpredicted(items)), compared(items))


def test_holm_is_within_a_task(tables):
    table = compared(tables.items)
    for _, part in table.groupby("task"):
        assert list(part["p_holm"]) == pytest.approx(list(stats.holm(part["p_value"].to_numpy())))


def test_verdict_needs_a_small_p_and_an_interval_without_zero():
    table = pd.DataFrame(
        {
            "value": [0.1, -0.1, 0.1, 0.1, np.nan],
            "low": [0.05, -0.2, 0.05, -0.1, np.nan],
            "high": [0.2, -0.05, 0.2, 0.2, np.nan],
            "p_holm": [0.01, 0.01, 0.06, 0.01, np.nan],
        }
    )
    unknown = "cannot be told"
    expected = ["higher", "lower", unknown, unknown, unknown]
    assert paired_differences.verdicts(table) == expected


def test_printed_is_in_points(tables):
    table = compared(tables.items)
    printed = paired_differences.printed(table, NAMES)
    assert printed["A"][0] == "LoRA-SB, r = 4"
    assert printed["B"][0] == "LoRA-XS, r = 4"
    assert float(printed["A - B"][0]) == pytest.approx(100 * table["difference"][0], abs=0.05)
    assert list(printed["Items"].unique()) == ["60", "180"]
    assert list(printed["Seeds"].unique()) == ["3"]


def test_methods_without_a_common_seed_cannot_be_told_apart(tables):
    items = tables.items[tables.items["variant"].isin(["lora", "full"])].copy()
    items.loc[items["variant"] == "lora", "seed"] += 10
    table = compared(items)
    assert set(table["verdict"]) == {"cannot be told"}
    assert set(table["seeds"]) == {0}
    assert set(paired_differences.printed(table, NAMES)["A - B"]) == {"–"}  # noqa: RUF001


def test_one_method_has_nothing_to_compare(tables):
    table = compared(tables.items[tables.items["variant"] == "full"])
    assert table.empty
    assert "verdict" in table
