from __future__ import annotations

from pathlib import Path

import pytest

from lorasb.config import read as config
from lorasb.errors import UserError
from lorasb.study.study import Study
from lorasb.tasks.task import File, FilesSource, GenerationTask, LabelledTask, Task
from tests.unit.text import (
    GENERATED,
    LABELLED,
    SET,
    SETS,
    generation_task,
    labelled_task,
    sets_task,
)

ROOT = Path(__file__).resolve().parents[3]
SLUGS = config.names("tasks")


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


def test_labelled_tasks_have_sets_too():
    task = Task.from_config("mnli", config.load_task_config("mnli"))
    origins = {name: one.splits["test"].origin for name, one in task.sets.items()}
    assert origins == {"matched": "validation_matched", "mismatched": "validation_mismatched"}
    assert {one.num_labels for one in task.sets.values()} == {3}
    own = SET | {"columns": {"text": ["a", "b"], "label": "gold"}}
    assert labelled_task(**with_sets(own=own)).part("own").columns == ["a", "b", "gold"]


def test_columns_are_those_that_the_templates_name():
    task = generation_task(prompt="{query} {query} {{literal}}", answer="so: {response}")
    assert task.columns == ["query", "response"]
    assert labelled_task().columns == ["sentence", "label"]


def test_a_set_states_what_differs_and_inherits_the_rest():
    task = sets_task(stop=["Question:"])
    short, long = task.sets["short"], task.sets["long"]
    assert (short.max_new_tokens, long.max_new_tokens, task.max_new_tokens) == (2, 5, 5)
    assert (short.prompt, long.prompt) == ("{question}", "w30 {question}")
    assert short.source == task.source
    assert long.source != task.source
    assert short.answers == task.answers
    assert long.answers["flexible"].prediction == "option"
    assert short.stop == long.stop == ("Question:",)
    assert set(task.splits) == {"train", "selection"}
    assert set(short.splits) == {"test"}
    assert task.part("long") is long
    assert task.part("") is task.part(None) is task


def test_the_authors_prompts():
    """As their code has them: another prompt at evaluation than in training."""
    start = (
        "Below is an instruction that describes a task. "
        "Write a response that appropriately completes the request.\n\n"
    )
    maths = Study("paper-arithmetic-mistral-authors").tasks["metamath"]
    assert isinstance(maths, GenerationTask)
    assert maths.prompt == f"{start}### Instruction:\n{{query}}\n\n### Response:"
    end = "\n\n### Response: Let's think step by step."
    for name, column, tokens in (("gsm8k", "question", 256), ("math", "problem", 512)):
        one = maths.sets[name]
        assert one.prompt == f"{start}### Instruction:\n{{{column}}}{end}"
        assert one.max_new_tokens == tokens
        assert one.stop == ("Instruction:", "Instruction", "Response:", "Response")
    sense = Study("paper-commonsense-llama-authors").tasks["commonsense"]
    assert isinstance(sense, GenerationTask)
    blanks = " " * 12
    middle = f"{blanks}### Instruction:\n{blanks}{{instruction}}\n\n"
    assert sense.prompt == f"{start}{middle}{blanks}### Response:\n{blanks}"
    assert len(sense.sets) == 8
    for one in sense.sets.values():
        assert one.prompt == f"{start}### Instruction:\n{{instruction}}\n\n### Response:\n"
        assert one.max_new_tokens == 32


@pytest.mark.parametrize("slug", ["metamath", "commonsense"])
def test_our_prompts_are_the_same_in_training_and_evaluation(slug):
    task = Task.from_config(slug, config.load_task_config(slug))
    assert isinstance(task, GenerationTask)
    for one in task.sets.values():
        found = one.prompt.replace("{question}", "{query}").replace("{problem}", "{query}")
        assert found == task.prompt
        assert one.stop == ()


HUB_SPLITS = LABELLED["splits"]
FILES = {
    "loader": "files",
    "folder": None,
    "url": "https://host",
    "revision": "1",
    "files": {"train": {"path": "a.json", "rows": None, "sha256": None}},
}


def without(data, key):
    return {name: value for name, value in data.items() if name != key}


def with_sets(**sets):
    return {"splits": SETS["splits"] | {"test": {"sets": sets}}}


@pytest.mark.parametrize(
    ("data", "changes", "message"),
    [
        (GENERATED, {"kind": "foo"}, "kind: 'foo' is not one of"),
        *(
            (
                LABELLED,
                {"kind": kind},
                "; classes of tokens and sequence-to-sequence models are not",
            )
            for kind in ("token-classification", "seq2seq", "translation")
        ),
        (GENERATED, {"num_labels": 2}, "unknown key 'num_labels'; known: answer"),
        (GENERATED, {"surprise": 2}, "unknown key 'surprise'"),
        (LABELLED, {"prompt": "{x}"}, "unknown key 'prompt'; known: columns"),
        (LABELLED, {"sampling": {}}, "unknown key 'sampling'"),
        (GENERATED, {"sampling": {"temperature": 0.1, "top_p": 0.7}}, "'top_k' is a required"),
        (
            GENERATED,
            {"sampling": {"temperature": 0, "top_p": 0.7, "top_k": 4}},
            "0 is less than or equal to the minimum of 0; above 0; leave sampling out for greedy",
        ),
        *(
            (GENERATED, {key: text}, f"{key}: {message}")
            for key in ("prompt", "answer")
            for text, message in (
                ("{x} {", "Single '{' encountered"),
                ("{x} }", "Single '}' encountered"),
                ("{x", "'{x' does not match"),
                ("{x} {y", "expected '}' before end of string"),
                ("{x} {}", "'{}' is no column's name in braces; write {{ and }} for braces"),
                ("{x} {0}", "'{0}' is no column's name in braces"),
                ("{x.y}", "'{x.y}' is no column's name in braces"),
                ("{x[0]}", "'{x[0]}' is no column's name in braces"),
                ("{x!r}", "'{x' is followed by a format or conversion; a column's name stands"),
                ("{x:>10}", "'{x' is followed by a format or conversion"),
                ("{x} {y:{z}}", "'{y' is followed by a format or conversion"),
                ("{{x}}", "no column's name in braces; all rows would be the same"),
            )
        ),
        (SETS, with_sets(one=SET | {"prompt": "{x} {}"}), "splits.test.sets.one: prompt: '{}' is"),
        (LABELLED, {"columns": {"text": ["a", "b"], "label": "b"}}, "'b' is both text and label"),
        (
            LABELLED,
            with_sets(one=SET | {"columns": {"text": ["a"], "label": "a"}}),
            "splits.test.sets.one: columns: 'a' is both text and label",
        ),
        (LABELLED, {"drop_rows": ["duplicates"]}, "drop_rows.0: 'duplicates' is not one of"),
        (LABELLED, {"drop_rows": []}, "drop_rows: [] should be non-empty"),
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
        (LABELLED, {"source": FILES}, "splits.test.from: 'validation' is not one of source.files"),
        (LABELLED, {"source": FILES | {"url": "ftp://host"}}, "where to download from"),
        (LABELLED, {"source": FILES | {"url": None}}, "source.url is missing; give the folder"),
        (LABELLED, {"source": without(FILES, "revision")}, "source.revision is missing; give"),
        (
            SETS,
            with_sets(one=SET | {"source": without(FILES, "url"), "from": "train"}),
            "splits.test.sets.one.source.url is missing",
        ),
        (
            SETS,
            with_sets(one=SET | {"source": SETS["source"] | {"revision": "x"}, "from": "train"}),
            "sets.one.from: 'train' is trained on or selected by",
        ),
        (GENERATED, {"max_new_tokens": 10**9}, "is greater than the maximum of 1000000"),
        (LABELLED, {"num_labels": 10**9}, "is greater than the maximum of 100000"),
        (
            GENERATED,
            {"splits": GENERATED["splits"] | {"train": {"rows": 10**9}}},
            "splits.train.rows: a generated split has at most 1000000 rows",
        ),
        (LABELLED, {"source": FILES | {"files": {}}}, "source.files: {} should be non-empty"),
        (
            LABELLED,
            {"source": FILES | {"files": {"x": {"path": "a.csv", "rows": None, "sha256": None}}}},
            "source.files.x.path: 'a.csv' does not match",
        ),
        (
            LABELLED,
            {"source": FILES | {"files": {"x": {"path": "a.json", "rows": None, "sha256": "0"}}}},
            "source.files.x.sha256: '0' does not match",
        ),
        (
            LABELLED,
            {"splits": HUB_SPLITS | {"train": {"from": "train", "rows": None, "take": "first"}}},
            "splits.train.rows: 'take: first' needs a number of rows",
        ),
        (
            LABELLED,
            {"splits": HUB_SPLITS | {"train": {"from": "train", "rows": 3, "take": "last"}}},
            "splits.train.take: 'last' is not one of",
        ),
        (
            LABELLED,
            with_sets(one=SET | {"prompt": "{a}"}),
            "unknown key 'prompt'; known: columns, d",
        ),
        (SETS, with_sets(), "splits.test.sets: {} should be non-empty"),
        (SETS, with_sets(One=SET), "'One' does not match"),
        (SETS, with_sets(one=SET | {"metrics": []}), "unknown key 'metrics'; known: answer"),
        (SETS, with_sets(one=SET | {"label": 3}), "sets.one.label: 3 is not of type 'string'"),
        (SETS, with_sets(one={"label": "One", "rows": None}), "'from' is a required property"),
        (SETS, with_sets(one={"from": "test", "rows": None}), "'label' is a required property"),
        (
            SETS,
            with_sets(one=SET | {"from": "train", "rows": 5}),
            "splits.test.sets.one.from: 'train' is trained on or selected by",
        ),
        (
            LABELLED,
            {"splits": HUB_SPLITS | {"train": {"rows": 3, "drop_overlap": "exact"}}},
            "splits.train: unknown key 'drop_overlap'; known: from, rows, take",
        ),
        (
            LABELLED,
            {"splits": HUB_SPLITS | {"test": {"rows": 3, "drop_overlap": "all"}}},
            "splits.test.drop_overlap: 'all' is not one of ['none', 'exact', 'normalised']",
        ),
        (SETS, {"stop": [""]}, "stop.0: '' should be non-empty"),
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


def test_files_of_a_folder_need_no_address():
    source = {"loader": "files", "folder": "here", "files": {"train": {"path": "a.json"}}}
    rows = {"train": None, "selection": 2, "test": 3}
    splits = {name: {"from": "train", "rows": count} for name, count in rows.items()}
    found = labelled_task(source=source, splits=splits).source
    assert found == FilesSource(folder="here", files=(("train", File("a.json")),))


@pytest.mark.parametrize("data", [GENERATED, LABELLED])
def test_a_missing_key_is_named(data):
    for key in data:
        rest = {name: value for name, value in data.items() if name != key}
        with pytest.raises(UserError, match=f"'{key}' is a required property"):
            Task.from_config("mine", rest)
