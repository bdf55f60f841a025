"""What holds for every task in `config/tasks`, whoever wrote it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from lorasb.bundled.tokenizer import build_tokenizer
from lorasb.config.read import load_task_config, names
from lorasb.evaluation.score import score_cells, score_rows
from lorasb.files import write_jsonl
from lorasb.tasks import prepare as preparation
from lorasb.tasks.prepare import prepare, write_prepared
from lorasb.tasks.sources import load_rows
from lorasb.tasks.task import SPLITS, GeneratedSource, Task
from tests.offline import offline_config

TASKS = names("tasks")
ROWS = 30  # of each split; enough to see both labels and pairs of texts


@pytest.fixture(params=TASKS)
def task(request: pytest.FixtureRequest) -> Task:
    data = load_task_config(request.param)
    folder = Path()
    if data["source"]["loader"] == "hub":
        request.getfixturevalue("offline_hub")
        if request.param == "mnli":
            pytest.skip("needs MNLI, which ../shared lacks")
    if data["source"]["loader"] == "files":
        request.getfixturevalue("offline_hub")
        folder = request.getfixturevalue("llm_adapters")
    return Task.from_config(request.param, offline_config(data, folder))


@pytest.fixture
def prepared(task: Task, monkeypatch: pytest.MonkeyPatch) -> tuple[dict[str, Any], dict[str, Any]]:
    """The first rows of every split and evaluation set as token ids, and the manifest."""
    monkeypatch.setattr(
        preparation, "load_rows", lambda task, split, seed: load_rows(task, split, seed)[:ROWS]
    )
    length = 128 if generated(task) else 2048
    return prepare(task, tokenizer(task), max_length=length, seed=0)


def generated(task: Task) -> bool:
    return isinstance(task.source, GeneratedSource)


def tokenizer(task: Task) -> PreTrainedTokenizerBase:
    if generated(task):
        return build_tokenizer()
    found = AutoTokenizer.from_pretrained("sentence-transformers/all-MiniLM-L6-v2")
    found.eos_token = found.sep_token  # for tasks that generate
    return found


def parts(task: Task, rows: list[dict[str, Any]]) -> list[tuple[Task, list[dict[str, Any]]]]:
    """Each evaluation set with its rows; a task without sets with all rows."""
    if not task.sets:
        return [(task, rows)]
    return [(one, [row for row in rows if row["set"] == name]) for name, one in task.sets.items()]


def perfect(task: Task, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    gold = "answer" if task.kind == "generation" else "labels"
    return [
        {"item": row["item"], "prediction": row[gold], "label": row[gold]} | likeliest(task, row)
        for row in rows
    ]


def likeliest(task: Task, row: dict[str, Any]) -> dict[str, Any]:
    """A model's likelihoods that is sure of the answer, where the task asks for them."""
    if not getattr(task, "by_likelihood", ()):
        return {}
    options = {text: float(text == row["answer"]) for text in row.get("options", ())}
    return {"answer_loss": 0.0} | ({"options": options} if options else {})


def test_rows_are_whole(task, prepared):
    splits, manifest = prepared
    for split in SPLITS:
        facts = manifest["splits"][split]
        rows = splits[split].to_list()
        assert facts["rows"] == len(rows) == len({row["item"] for row in rows})
        if task.splits.get(split) and task.splits[split].rows == 0:
            assert rows == []
            continue
        assert facts["truncated"] == 0
        # symbols of mathematics that the vocabulary of a small English model lacks
        assert facts["unknown_tokens"] <= (0 if generated(task) else len(rows))
        assert all(row["input_ids"] for row in rows)
        assert len(rows) >= 3


def test_gold_answers_are_perfect(task, prepared):
    for part, rows in parts(task, prepared[0]["test"].to_list()):
        assert len(rows) == ROWS
        metrics, items = score_rows(part, perfect(part, rows))
        assert set(task.metrics) <= set(metrics)
        # a correlation of equal numbers is 1 up to float64 rounding
        assert metrics[task.primary] == pytest.approx(1.0, abs=1e-12)
        assert task.kind == "regression" or all(row["correct"] == 1.0 for row in items)


def test_the_same_answer_to_everything_is_poor(task, prepared):
    for part, rows in parts(task, prepared[0]["test"].to_list()):
        gold = perfect(part, rows)
        metrics, _ = score_rows(part, [row | {"prediction": gold[0]["label"]} for row in gold])
        # the more frequent of two classes is right more often than not
        assert metrics[task.primary] < 0.8


def test_predictions_become_tables(task: Task, prepared, tmp_path: Path):
    splits, manifest = prepared
    write_prepared(splits, manifest, tmp_path)
    split = "selection" if len(splits["selection"]) else "test"
    write_jsonl(tmp_path / "predictions.jsonl", perfect(task, splits[split].to_list()))
    cell = {"model": "m", "task": task.name, "variant": "v", "rank": 0, "lr": "0", "seed": 0}
    tables = tmp_path / "metrics.csv", tmp_path / "items.parquet"
    score_cells(
        task,
        [(cell, tmp_path / "predictions.jsonl")],
        split_path=tmp_path / f"{split}.parquet",
        metrics_path=tables[0],
        items_path=tables[1],
    )
    assert len(tables[0].read_text().splitlines()) == 1 + len(task.metrics)
