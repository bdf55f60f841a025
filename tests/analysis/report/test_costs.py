from dataclasses import replace

import pytest

from analysis.report.costs import MEASURED, counted, measured
from tests.analysis.conftest import MODEL


def test_measured_costs_are_medians_over_seeds_and_of_the_mean_the_largest_task(study):
    found = measured(study)[MODEL, "lora-sb", 16]
    runs = study.runs.query("variant == 'lora-sb' and rank == 16")
    peaks = runs.groupby("task")["peak_memory_bytes"].median()
    assert {task: found[task]["peak"] for task in peaks.index} == pytest.approx(dict(peaks))
    assert found["mean"]["peak"] == peaks.max()
    world = runs[runs["task"] == "world"]
    seconds = world["gradient_seconds"] + world["factorize_seconds"] + world["train_seconds"]
    assert found["world"]["total"] == pytest.approx(seconds.median())
    # 100 steps a run
    assert found["world"]["step"] == pytest.approx((world["train_seconds"] / 100).median())
    assert found["world"]["start"] == 3e8


def test_a_failed_seed_has_no_costs_but_the_others_have(study):
    failed = study.runs[study.runs["status"] == "failed"].iloc[0]
    others = study.runs.query("variant == 'lora' and task == 'world' and status == 'ok'")
    found = measured(study)[MODEL, "lora", 8][failed["task"]]
    assert found["peak"] == pytest.approx(others["peak_memory_bytes"].median())


def test_counts_of_the_own_model_only_say_what_a_server_holds(study):
    found = counted(study)["lora-xs", 16]
    assert found[MEASURED].keys() == {"base", "shared"}
    own = {"trainable": 7_680, "stored": 4 * 200 * 7_168, "peak": 1.4e10 + 16 * 7_680}
    assert found["large"] == pytest.approx({"base": 1.4e10, "shared": 1e9, "start": 1.41e10} | own)
    assert "start" not in counted(study)["lora", 8]["large"]


def test_counts_of_an_older_release_know_no_memory_of_training(study):
    assert study.counts is not None
    old = replace(study, counts=study.counts.drop(columns=["training_bytes", "start_bytes"]))
    assert not {"peak", "start"} & counted(old)["lora-xs", 16]["large"].keys()
