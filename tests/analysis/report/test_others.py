from __future__ import annotations

import json
from dataclasses import replace

import pandas as pd
import pytest

from analysis.report.others import printed, read_others
from analysis.report.page import build
from analysis.tidy import TableError
from tests.analysis.conftest import NAMES
from tests.analysis.report.studies import OTHERS

FILES = [OTHERS / f"{name}.json" for name in ("peft_lora", "peft_full_failed", "harness")]


def test_a_run_of_peft_is_a_row():
    row = read_others(FILES[:1]).iloc[0].to_dict()
    assert row.pop("reason") is None
    assert pd.isna(row.pop("items"))
    assert row == {
        **{"source": "PEFT method_comparison", "file": "peft_lora.json", "version": "peft 0.21.2"},
        **{"model": "org/small", "method": "lora/small-rank8", "rank": 8},
        **{"task": "metamath, gsm8k", "metric": "test accuracy", "score": 0.375, "n": 1},
        **{"trainable_parameters": 1024, "stored_bytes": 4096, "peak_memory_bytes": 2000},
        **{"train_seconds": 1100.25, "seed": 3},
    }


def test_a_run_that_failed_has_its_reason_and_the_older_key_of_memory():
    row = read_others(FILES[1:2]).iloc[0]
    assert row["reason"] == "failed: out of memory"
    assert pd.isna(row["score"])
    assert row["peak_memory_bytes"] == 3000
    assert row["rank"] is None


def test_the_harness_gives_a_row_a_task_and_metric_without_standard_errors():
    table = read_others(FILES[2:])
    assert table[["task", "metric", "score", "items"]].to_numpy().tolist() == [
        ["gsm8k, 5-shot", "exact_match, strict-match", 0.5, 100],
        ["gsm8k, 5-shot", "exact_match, flexible-extract", 0.625, 100],
        ["arc_easy, 0-shot", "acc", 0.75, 20],
    ]
    assert set(table["method"]) == {"org/adapter"}
    assert set(table["version"]) == {"lm_eval 0.4.13"}
    assert set(table["n"]) == {1}


def test_arguments_may_be_a_mapping_and_metrics_without_a_filter(tmp_path):
    data = json.loads(FILES[2].read_text())
    data["config"]["model_args"] = {"pretrained": "org/small"}
    data["results"] = {"rte": {"acc": 1, "acc_stderr": 0.1}}
    path = tmp_path / "old.json"
    path.write_text(json.dumps(data))
    row = read_others([path]).iloc[0]
    assert (row["task"], row["metric"], row["score"], row["method"]) == ("rte", "acc", 1, None)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no JSON"),
        ('{"results": {"rte"', "no JSON"),
        ("[1]", "no key 'train_info' or 'results'"),
        ('{"a": 1}', "no key 'train_info' or 'results'"),
        ('{"results": [1]}', "not as a result of PEFT"),
        ('{"train_info": {"status": "success"}}', "KeyError\\('run_info'\\)"),
    ],
)
def test_another_file_is_one_line(tmp_path, text, message):
    path = tmp_path / "x.json"
    path.write_text(text)
    with pytest.raises(TableError, match=rf"x\.json: .*{message}"):
        read_others([path])
    with pytest.raises(TableError, match=r"y\.json: cannot be read"):
        read_others([tmp_path / "y.json"])


def test_the_page_shows_them_apart(study):
    table = read_others(FILES)
    text = printed(table)
    assert list(text["Score"]) == ["0.375", "failed: out of memory", "0.5", "0.625", "0.75"]
    page = build("tiny", study, NAMES)
    section = page.split('<section id="others"')[1].split("</section>")[0]
    assert section.count("<tr>") == 1 + len(table)
    assert "each is one run" in section
    # and nowhere else
    assert page.count("lora/small-rank8") == 1
    assert '<section id="others"' not in build("tiny", replace(study, others=None), NAMES)
