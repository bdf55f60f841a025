from __future__ import annotations

import numpy as np

from analysis.tables import costs
from tests.analysis.conftest import NAMES


def line(table, variant, rank, task):
    rows = (table["variant"] == variant) & (table["rank"] == rank) & (table["task"] == task)
    return table[rows].iloc[0]


def test_every_cost_is_the_median_of_the_cells(tables):
    runs = tables.runs
    found = line(costs.costs(runs, NAMES), "lora-sb", 16, "sentences")
    cells = runs.query("variant == 'lora-sb' and rank == 16 and task == 'sentences'")
    for column in [*costs.NUMBERS, *costs.BYTES, *costs.SECONDS, *costs.SPEED]:
        assert found[column] == sorted(cells[column])[1], column
    assert found["n"] == 3


def test_a_failed_method_has_counts_but_no_times(tables):
    runs = tables.runs.copy()
    rows = (runs["variant"] == "lora") & (runs["task"] == "world")
    runs.loc[rows, ["score", *costs.BYTES, *costs.SECONDS, *costs.SPEED]] = np.nan
    table = costs.costs(runs, NAMES)
    found = line(table, "lora", 8, "world")
    assert (found["n"], found["trainable_parameters"]) == (0, 56_000)
    printed = costs.printed(table, NAMES)
    text = printed[(printed["Method"] == "LoRA") & (printed["Task"] == "World")].iloc[0]
    assert (text["Trainable"], text["Training (s)"], text["n"]) == ("56,000", "–", "0")  # noqa: RUF001


def test_printed_has_units(tables):
    printed = costs.printed(costs.costs(tables.runs, NAMES), NAMES)
    text = printed[(printed["Method"] == "LoRA-SB") & (printed["Rank"] == "16")].iloc[0]
    assert text["Stored"] == "120,000"
    assert text["Stored bytes"] == "480 kB"
    assert text["Gradient (s)"] == "0.8"
    assert "Model" not in printed
