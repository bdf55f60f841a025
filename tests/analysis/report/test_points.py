from __future__ import annotations

from dataclasses import replace

import pandas as pd
import pytest

from analysis.report.points import points, score_names, shape_names
from analysis.tables.accuracy import accuracy
from tests.analysis.conftest import NAMES, make_tables
from tests.analysis.report.studies import page_tables


def by_key(found, key):
    (point,) = [point for point in found if point.key.endswith(key)]
    return point


def test_scores_are_those_of_the_table_of_accuracy(study, found):
    table = accuracy(study.runs, NAMES)
    for row in table.itertuples():
        score = by_key(found, f"llama-{row.variant}-{row.rank}").scores[row.task]
        assert (score.mean, score.n, score.interval) == (row.mean, row.n, row.interval)
    assert by_key(found, "lora-8").scores["world"].n == 2


def test_points_stand_in_display_order_and_those_of_closed_forms_last(found):
    labels = [point.label for point in found]
    assert labels[:3] == ["base model", "full fine-tuning", "LoRA, r = 8"]
    assert labels[-2:] == ["LoRA-SB, r = 96", "LoRA-XS, r = 96"]
    for point in found[-2:]:
        assert (point.scores, point.runs, point.costs.keys()) == ({}, [], {"large"})
    assert [point.trains for point in found[:2]] == [False, True]


def test_a_study_says_where_its_runs_are_and_why_one_failed(found):
    lora = by_key(found, "lora-8")
    assert lora.folders == "results/tiny/runs/quickstart-llama/*/lora/r8/lr5e-3/*"
    (failed,) = [run for run in lora.runs if run.reason]
    assert (failed.task, failed.seed, failed.reason) == ("world", 1, "loss is not finite")
    assert (failed.folder, failed.hashes) == (
        "results/tiny/runs/quickstart-llama/world/lora/r8/lr5e-3/seed1",
        "",
    )
    assert {run.hashes for run in lora.runs if not run.reason} == {"0123456789 ffffffffff"}


def test_a_release_without_the_later_tables_has_points_all_the_same(study):
    runs = study.runs.drop(columns="start_peak_memory_bytes")
    old = replace(study, runs=runs, counts=None, origins=None)
    found = points(old, NAMES)
    assert len(found) == 7
    assert all(run.folder == "" for point in found for run in point.runs)
    assert "start" not in found[2].costs["measured"]["mean"]
    assert list(shape_names(old, NAMES)) == ["measured"]


@pytest.mark.parametrize(
    ("tasks", "names"), [(1, ["arithmetic"]), (2, ["mean", "arithmetic", "world"])]
)
def test_there_is_a_mean_over_tasks_where_there_are_several(tasks, names):
    assert list(score_names(make_tables(tasks=tasks).runs, NAMES)) == names


def test_shapes_are_the_own_costs_and_the_other_models(study):
    assert shape_names(study, NAMES) == {
        "measured": "Quickstart Llama, measured",
        "large": "Large-7B, counted",
    }


def test_each_model_has_points_of_its_own():
    study = page_tables(make_tables(tasks=1), fail=False)
    other = study.runs.assign(model="roberta-large")
    both = replace(study, runs=pd.concat([study.runs, other]), origins=None)
    labels = [point.label for point in points(both, NAMES)]
    assert "LoRA, r = 8, Quickstart Llama" in labels
    assert "LoRA, r = 8, RoBERTa-large" in labels
