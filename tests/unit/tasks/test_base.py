from __future__ import annotations

from pathlib import Path

import pytest

from lorasb import config
from lorasb.errors import UserError
from lorasb.tasks.base import GenerationTask, LabelledTask, Task
from tests.unit.text import GENERATED, LABELLED, generation_task, labelled_task

ROOT = Path(__file__).resolve().parents[3]
SLUGS = ["arithmetic", "cola", "mrpc", "sentences", "sst2", "stsb", "world"]


@pytest.fixture(autouse=True)
def at_the_root(monkeypatch):
    monkeypatch.chdir(ROOT)


@pytest.mark.parametrize("slug", SLUGS)
def test_every_shipped_task_is_read(slug):
    task = Task.from_config(slug, config.load_task_config(slug))
    kind = GenerationTask if task.kind == "generation" else LabelledTask
    assert isinstance(task, kind)
    assert task.name == slug
    assert task.primary in task.metrics


@pytest.mark.parametrize("slug", SLUGS)
def test_every_key_of_a_shipped_task_is_explained(slug):
    lines = (ROOT / f"config/tasks/{slug}.yaml").read_text().splitlines()
    keys = [index for index, line in enumerate(lines) if line[:1].isalpha()]
    assert keys
    assert all(lines[index - 1].startswith("#") for index in keys)


def test_the_protocol_of_glue():
    loaded = {slug: config.load_task_config(slug) for slug in ("sst2", "mrpc", "stsb", "cola")}
    tasks = {slug: Task.from_config(slug, data) for slug, data in loaded.items()}
    assert {slug: task.primary for slug, task in tasks.items()} == {
        "sst2": "accuracy",
        "mrpc": "accuracy",
        "stsb": "pearson",
        "cola": "matthews",
    }
    for task in tasks.values():
        assert task.splits["test"].origin == "validation"
        assert task.splits["selection"].origin == task.splits["train"].origin == "train"


def test_columns_are_those_that_the_templates_name():
    task = generation_task(prompt="{query} {query} {{literal}}", answer="so: {response}")
    assert task.columns == ["query", "response"]
    assert labelled_task().columns == ["sentence", "label"]


HUB_SPLITS = LABELLED["splits"]


@pytest.mark.parametrize(
    ("data", "changes", "message"),
    [
        (GENERATED, {"kind": "foo"}, "kind: 'foo' is not one of"),
        (GENERATED, {"num_labels": 2}, "unknown key 'num_labels'; known: answer"),
        (GENERATED, {"surprise": 2}, "unknown key 'surprise'"),
        (LABELLED, {"prompt": "{x}"}, "unknown key 'prompt'; known: columns"),
        (GENERATED, {"prompt": "no column"}, "a text with a column's name in braces"),
        (GENERATED, {"answers": {"strict": "whole_answer"}}, "answers: 'flexible' is a required"),
        (
            GENERATED,
            {"answers": {"strict": "whole_answer", "flexible": "nope"}},
            "answers.flexible: 'nope' is not one of",
        ),
        (
            GENERATED,
            {"answers": {"strict": "option", "flexible": {"prediction": "option"}}},
            "answers.flexible: 'gold' is a required",
        ),
        (
            GENERATED,
            {
                "answers": {
                    "strict": "option",
                    "flexible": {"prediction": "option", "gold": "option", "compare": "eval"},
                }
            },
            "answers.flexible.compare: 'eval' is not one of",
        ),
        (GENERATED, {"primary": "accuracy"}, "primary: 'accuracy' is not one of metrics"),
        (GENERATED, {"metrics": []}, "metrics: [] should be non-empty"),
        (LABELLED, {"metrics": ["nope"]}, "metrics.0: 'nope' is not one of"),
        (LABELLED, {"metrics": ["pearson"], "primary": "pearson"}, "pearson is not for class"),
        (LABELLED, {"num_labels": 1}, "1 for regression, at least 2 for classification"),
        (LABELLED, {"num_labels": 3, "metrics": ["f1"], "primary": "f1"}, "must be 2"),
        (LABELLED, {"data_version": 0}, "raised when numbers would change"),
        (LABELLED, {"columns": {"text": ["a", "b", "c"], "label": "l"}}, "two for a pair"),
        (LABELLED, {"source": {"loader": "z"}}, "source.loader: 'z' is not one of"),
        (LABELLED, {"source": {"loader": "hub", "path": "x", "name": None}}, "'revision' is a req"),
        (LABELLED, {"splits": GENERATED["splits"]}, "splits.train needs 'from'"),
        (GENERATED, {"splits": HUB_SPLITS}, "splits.train is generated; remove 'from'"),
        (
            GENERATED,
            {"splits": GENERATED["splits"] | {"test": {"rows": None}}},
            "splits.test.rows: a generated split needs a number of rows",
        ),
        (
            LABELLED,
            {"splits": HUB_SPLITS | {"selection": {"from": "train", "rows": None}}},
            "another split takes all of 'train' already",
        ),
    ],
)
def test_bad_tasks_are_refused_in_one_line(data, changes, message):
    with pytest.raises(UserError) as raised:
        Task.from_config("mine", data | changes)
    assert message in str(raised.value)
    assert str(raised.value).startswith("config/tasks/mine.yaml: ")
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("data", [GENERATED, LABELLED])
def test_a_missing_key_is_named(data):
    for key in data:
        rest = {name: value for name, value in data.items() if name != key}
        with pytest.raises(UserError, match=f"'{key}' is a required property"):
            Task.from_config("mine", rest)
