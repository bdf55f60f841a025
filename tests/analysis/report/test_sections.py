"""What the sections say beside the tables for readers."""

from __future__ import annotations

from dataclasses import replace

import pandas as pd
import pytest

from analysis.report.points import score_names
from analysis.report.sections import largest, ledger, matrix, origins, rates, tasks
from tests.analysis.conftest import NAMES


def test_matrix_is_row_minus_column_and_its_sign_is_the_verdict(study, found, compared):
    scores = score_names(study.runs, NAMES)
    first = matrix.matrices(found, compared, scores)[0]
    run = [point for point in found if point.runs]
    assert first.labels == [point.label for point in run]
    assert all(first.cells[place][place] is None for place in range(len(run)))
    for pair in compared["mean"]:
        cell, turned = first.cells[pair.a][pair.b], first.cells[pair.b][pair.a]
        signs = {1: ("▲", "▼"), -1: ("▼", "▲")}.get(pair.verdict)
        if signs:
            assert (cell.text[0], turned.text[0]) == signs
            assert cell.text[1:] == turned.text[1:] == f"{100 * abs(pair.value):.1f}"
        assert cell.kind.endswith("u") != pair.planned


def test_cells_are_whole_points_where_there_are_many(found, compared):
    points = [replace(found[2], label=str(place)) for place in range(15)]
    pairs = {"mean": [replace(compared["mean"][0], a=0, b=1, value=0.0768, verdict=0)]}
    (only,) = matrix.matrices(points, pairs, {"mean": "Mean"})
    assert only.many
    assert (only.cells[0][1].text, only.cells[1][0].text) == ("8", "\N{MINUS SIGN}8")


def test_summary_counts_verdicts_of_both_kinds_of_holding():
    verdicts = pd.Series(
        ["holds exactly", "holds", "does not hold", "cannot be told at this scale"]
    )
    assert ledger.summary(verdicts) == (
        "holds in 2 of 4, does not hold in 1, cannot be told at this scale in 1"
    )


def test_every_row_of_the_ledger_is_below_its_claim(study):
    found = ledger.claims(study.claims, NAMES)
    assert sum(len(claim.rows) for claim in found) == len(study.claims)
    assert len({claim.text for claim in found}) == len(found)


def test_origins_are_told_once_each_with_their_number_of_runs(study):
    (only,) = origins.origins(study.origins)
    assert only["Runs"] == str(len(study.runs) - 1)  # one failed
    assert only["Packages"] == "torch 2.13.0, transformers 5.23.0"
    assert only["Uncommitted changes"] == "no"
    two = study.origins.copy()
    two.loc[two.index[:5], "commit"] = "beef"
    assert [line["Runs"] for line in origins.origins(two)] == ["5", str(len(study.runs) - 6)]


def test_rates_name_the_edge_of_their_grid(study):
    table = rates.table(study.rates, NAMES)
    assert list(table) == ["Method", "Arithmetic", "World", "Sentences"]
    edges = study.rates[study.rates["edge"] != "none"]
    shown = table.to_string()
    assert shown.count("lowest tried") + shown.count("highest tried") == len(edges) > 0


def test_rates_of_two_models_stand_apart(study):
    two = pd.concat([study.rates, study.rates.assign(model="other", lr="9e-9")])
    table = rates.table(two, NAMES)
    assert len(table) == 2 * len(rates.table(study.rates, NAMES))
    others = table[table["Method"].str.endswith(", other")]
    assert others["World"].str.startswith("9e-9").all()
    swept = pd.concat([study.sweep, study.sweep.assign(model="other")])
    (data,) = rates.chart(swept, two, NAMES)["datasets"].values()
    assert len({line["label"] for line in data}) == len(table)


def test_a_sweep_by_loss_is_said_to_be_one(study):
    assert rates.notes(None, NAMES) == rates.notes(study.sweep, NAMES) == []
    is_world = study.sweep["task"] == "world"
    metric = study.sweep["metric"].mask(is_world, "answer_loss")
    (note,) = rates.notes(study.sweep.assign(metric=metric), NAMES)
    assert note.startswith("On World the score is the loss")


def test_curves_have_a_mark_at_each_chosen_rate(study):
    spec = rates.chart(study.sweep, study.rates, NAMES)
    (data,) = spec["datasets"].values()
    marks = pd.DataFrame(data)["mark"].value_counts()
    assert marks["edge"] == (study.rates["edge"] != "none").sum()
    assert marks["chosen"] == (study.rates["edge"] == "none").sum()


def test_panels_of_tasks_leave_out_what_trains_nothing(study, found):
    spec = tasks.chart(found, score_names(study.runs, NAMES))
    (data,) = spec["datasets"].values()
    table = pd.DataFrame(data)
    assert set(table["task"]) == {"Mean over 3 tasks", "Arithmetic", "World", "Sentences"}
    assert "base model" not in set(table["label"])
    lora = table.query("label == 'LoRA, r = 8' and task == 'World'").iloc[0]
    score = found[2].scores["world"]
    assert [lora["mean"], lora["low"], lora["high"]] == pytest.approx(
        [100 * score.mean, 100 * score.low, 100 * score.high]
    )


def test_largest_costs_have_a_row_a_measured_point_and_no_empty_column(found):
    table = largest.table(found, "mean")
    assert len(table) == 7
    assert "All adapters, served unmerged" not in table
    assert table.set_index("Method").loc["LoRA, r = 8", "Trainable numbers"] == "56 k"
