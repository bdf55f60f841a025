"""What holds for every task in `config/tasks`, whoever wrote it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from lorasb.config import load_task_config, names
from lorasb.files import write_jsonl
from lorasb.quickstart.tokenizer import build_tokenizer
from lorasb.score import score_cells, score_rows
from lorasb.tasks import prepare as preparation
from lorasb.tasks.base import SPLITS, HubSource, Task
from lorasb.tasks.prepare import prepare, write_prepared
from lorasb.tasks.sources import load_rows

TASKS = names("tasks")
ROWS = 30  # of each split; enough to see both labels and pairs of texts


@pytest.fixture(params=TASKS)
def task(request: pytest.FixtureRequest) -> Task:
    found = Task.from_config(request.param, load_task_config(request.param))
    if isinstance(found.source, HubSource):
        request.getfixturevalue("offline_hub")
    return found


@pytest.fixture
def prepared(task: Task, monkeypatch: pytest.MonkeyPatch) -> tuple[dict[str, Any], dict[str, Any]]:
    """The first rows of every split as token ids, and the manifest."""
    monkeypatch.setattr(
        preparation, "load_rows", lambda task, split, seed: load_rows(task, split, seed)[:ROWS]
    )
    return prepare(task, tokenizer(task), max_length=128, seed=0)


def tokenizer(task: Task) -> PreTrainedTokenizerBase:
    if isinstance(task.source, HubSource):
        return AutoTokenizer.from_pretrained("sentence-transformers/all-MiniLM-L6-v2")
    return build_tokenizer()


def perfect(task: Task, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    gold = "answer" if task.kind == "generation" else "labels"
    return [{"item": row["item"], "prediction": row[gold], "label": row[gold]} for row in rows]


def test_rows_are_whole(prepared):
    splits, manifest = prepared
    for split in SPLITS:
        facts = manifest["splits"][split]
        assert (facts["rows"], facts["truncated"], facts["unknown_tokens"]) == (ROWS, 0, 0)
        rows = splits[split].to_list()
        assert len({row["item"] for row in rows}) == ROWS
        assert all(row["input_ids"] for row in rows)


def test_gold_answers_are_perfect(task, prepared):
    metrics, items = score_rows(task, perfect(task, prepared[0]["test"].to_list()))
    assert set(task.metrics) <= set(metrics)
    # a correlation of equal numbers is 1 up to float64 rounding
    assert metrics[task.primary] == pytest.approx(1.0, abs=1e-12)
    assert task.kind == "regression" or all(row["correct"] == 1.0 for row in items)


def test_the_same_answer_to_everything_is_poor(task, prepared):
    rows = perfect(task, prepared[0]["test"].to_list())
    same = [row | {"prediction": rows[0]["label"]} for row in rows]
    metrics, _ = score_rows(task, same)
    # the more frequent of two classes is right more often than not
    assert metrics[task.primary] < 0.8


def test_predictions_become_tables(task: Task, prepared, tmp_path: Path):
    splits, manifest = prepared
    write_prepared(splits, manifest, tmp_path)
    write_jsonl(tmp_path / "predictions.jsonl", perfect(task, splits["selection"].to_list()))
    cell = {"model": "m", "task": task.name, "variant": "v", "rank": 0, "lr": "0", "seed": 0}
    tables = tmp_path / "metrics.csv", tmp_path / "items.parquet"
    score_cells(
        task,
        [(cell, tmp_path / "predictions.jsonl")],
        split_path=tmp_path / "selection.parquet",
        metrics_path=tables[0],
        items_path=tables[1],
    )
    assert len(tables[0].read_text().splitlines()) == 1 + len(task.metrics)
