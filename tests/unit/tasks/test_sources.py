from __future__ import annotations

from pathlib import Path
from typing import Any

import datasets.config
import pytest
from datasets import Dataset

from lorasb.config import read as config
from lorasb.errors import UserError
from lorasb.tasks import sources
from lorasb.tasks.downloads import load_file
from lorasb.tasks.sources import describe, load_rows
from lorasb.tasks.task import GenerationTask, HubSource, Task
from tests.offline import LLM_ADAPTERS, offline_config
from tests.unit.tasks.test_task import ROOT
from tests.unit.text import generation_task, labelled_task, regression_task, sets_task

ROWS = 20
TEST = {"from": "validation", "rows": None}


@pytest.fixture(autouse=True)
def no_memory():
    """Forget the data sets that other tests loaded."""
    sources._load_hub.cache_clear()
    load_file.cache_clear()


@pytest.fixture
def hub(monkeypatch):
    """A data set on the hub; the test may change its rows."""
    rows: dict[str, list[Any]] = {
        "sentence": [f"w{index}" for index in range(ROWS)],
        "label": [index % 2 for index in range(ROWS)],
    }
    monkeypatch.setattr(sources, "load_dataset", lambda *_, **__: Dataset.from_dict(rows))
    return rows


def cut(**rows: int | None) -> dict[str, Any]:
    """Splits that share one split of the source."""
    return {name: {"from": "train", "rows": count} for name, count in rows.items()}


def items(task: Task, split: str, seed: int = 0) -> list[int]:
    return [row["item"] for row in load_rows(task, split, seed)]


def test_splits_of_one_origin_are_disjoint_and_keep_its_order(hub):
    task = labelled_task()
    train, selection = items(task, "train"), items(task, "selection")
    assert len(selection) == 4
    assert sorted(train + selection) == list(range(ROWS))
    assert train == sorted(train)
    assert selection == sorted(selection)
    assert items(task, "test") == list(range(ROWS))


def test_rows_keep_their_text_and_label(hub):
    for row in load_rows(labelled_task(), "selection", 0):
        assert row == {
            "item": row["item"],
            "sentence": f"w{row['item']}",
            "label": row["item"] % 2,
        }


def test_the_seed_alone_decides_what_is_cut(hub):
    task = labelled_task()
    assert items(task, "selection", 0) == items(task, "selection", 0)
    assert items(task, "selection", 0) != items(task, "selection", 1)


def test_fewer_training_rows_leave_the_selection_split_as_it_is(hub):
    few = labelled_task(splits=cut(train=5, selection=4) | {"test": TEST})
    assert items(few, "selection") == items(labelled_task(), "selection")
    assert len(items(few, "train")) == 5
    assert not set(items(few, "train")) & set(items(few, "selection"))


def test_three_splits_of_one_origin_are_disjoint(hub):
    splits = {
        name: {"from": "train", "rows": rows} for name, rows in (("train", None), ("test", 6))
    }
    task = labelled_task(splits=splits | {"selection": {"from": "train", "rows": 4}})
    parts = [items(task, split) for split in ("train", "selection", "test")]
    assert [len(part) for part in parts] == [10, 4, 6]
    assert sorted(item for part in parts for item in part) == list(range(ROWS))


def test_the_split_that_takes_the_rest_waits_for_the_others(hub):
    task = labelled_task(splits=cut(train=7, selection=4, test=None))
    parts = [items(task, split) for split in ("train", "selection", "test")]
    assert [len(part) for part in parts] == [7, 4, 9]
    assert sorted(item for part in parts for item in part) == list(range(ROWS))


def test_the_first_rows_are_taken_and_others_are_drawn_from_the_rest(hub):
    first = {"train": {"from": "train", "rows": 12, "take": "first"}}
    task = labelled_task(splits=first | cut(selection=4) | {"test": TEST})
    assert items(task, "train") == list(range(12))
    drawn = items(task, "selection")
    assert len(drawn) == 4
    assert set(drawn) <= set(range(12, ROWS))
    assert drawn != items(task, "selection", 1)
    assert items(task, "train", 1) == list(range(12))


def test_an_evaluation_set_has_its_own_source(monkeypatch):
    def load(path: str, *_: Any, **__: Any) -> Dataset:
        rows = [f"{path} {index}" for index in range(6)]
        return Dataset.from_dict({"question": rows, "answer": rows})

    monkeypatch.setattr(sources, "load_dataset", load)
    task = sets_task()
    assert items(task.sets["long"], "test") == list(range(6))
    assert load_rows(task.sets["long"], "test", 0)[2]["question"] == "someone/other 2"
    assert load_rows(task.sets["short"], "test", 0)[2]["question"] == "someone/training 2"
    # rows of another source, although the split has the same name
    assert len(items(task, "train")) == 4


def commonsense(monkeypatch: pytest.MonkeyPatch, folder: Path) -> GenerationTask:
    monkeypatch.chdir(ROOT)
    data = offline_config(config.load_task_config("commonsense"), folder)
    task = Task.from_config("commonsense", data)
    assert isinstance(task, GenerationTask)
    return task


def test_real_files(llm_adapters, monkeypatch):
    task = commonsense(monkeypatch, llm_adapters)
    train, selection = load_rows(task, "train", 0), load_rows(task, "selection", 0)
    assert (len(train), len(selection)) == (74_265 - 500, 500)
    assert not {row["item"] for row in train} & {row["item"] for row in selection}
    assert sum(len(load_rows(one, "test", 0)) for one in task.sets.values()) == 22_419
    source = describe(task)
    assert list(source["files"]) == ["train"]
    assert (source["loader"], len(source["files"]["train"]["sha256"])) == ("files", 64)


def test_missing_columns_of_a_file_are_named(tmp_path, monkeypatch):
    for name in LLM_ADAPTERS:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text('[{"instruction": "x", "answer": "true"}]')
    task = commonsense(monkeypatch, tmp_path)
    with pytest.raises(UserError, match="no column 'output'; the data set has: instruction, answ"):
        load_rows(task, "train", 0)
    with pytest.raises(UserError, match=r"boolq/test\.json: 1 rows, not 3270"):
        load_rows(task.sets["boolq"], "test", 0)


@pytest.mark.parametrize(
    ("train", "selection", "needed"),
    [(ROWS - 3, 4, ROWS + 1), (ROWS + 1, 4, ROWS + 5), (None, ROWS, ROWS + 1)],
)
def test_too_many_rows_are_refused(hub, train, selection, needed):
    task = labelled_task(splits=cut(train=train, selection=selection) | {"test": TEST})
    with pytest.raises(UserError, match=f"need {needed} rows of 'train', which has {ROWS}"):
        load_rows(task, "train", 0)


@pytest.mark.parametrize(("known", "right"), [({"train": ROWS}, True), ({"train": 7}, False)])
def test_known_numbers_of_rows_are_checked(hub, known, right):
    source = {"loader": "hub", "path": "a/b", "name": "c", "revision": None, "rows": known}
    task = labelled_task(source=source)
    assert task.training_rows == known["train"] - 4  # the selection rows
    if right:
        assert len(items(task, "train")) == ROWS - 4
        assert "rows" not in describe(task)
        return
    with pytest.raises(UserError, match=f"a/b, c: {ROWS} rows of 'train', not 7; correct source"):
        load_rows(task, "train", 0)


def test_missing_columns_are_named_with_those_that_are_there(hub):
    task = labelled_task(columns={"text": ["sentence1", "sentence2"], "label": "label"})
    with pytest.raises(UserError, match="'sentence1', 'sentence2'; the data set has: sentence, l"):
        load_rows(task, "train", 0)


@pytest.mark.parametrize("label", [-1, 2, 7])
def test_a_label_out_of_range_is_refused(hub, label):
    hub["label"][3] = label
    with pytest.raises(UserError, match=f"row 3: 'label' is {label}, not a class from 0 to 1"):
        load_rows(labelled_task(), "test", 0)


def test_hidden_labels_are_explained(hub):
    hub["label"] = [-1] * ROWS
    with pytest.raises(UserError, match="hidden labels are -1"):
        load_rows(labelled_task(), "test", 0)


def test_a_class_must_be_a_whole_number(hub):
    hub["label"] = [0.5] * ROWS
    with pytest.raises(UserError, match=r"row 0: 'label' is 0\.5"):
        load_rows(labelled_task(), "test", 0)


def test_a_number_must_be_finite(hub):
    hub["label"] = [0.5] * 7 + [float("nan")] * 13
    with pytest.raises(UserError, match="row 7: 'label' is nan, not a finite number"):
        load_rows(regression_task(), "test", 0)


@pytest.mark.parametrize("column", ["sentence", "label"])
def test_a_missing_value_is_refused(hub, column):
    hub[column][5] = None
    with pytest.raises(UserError, match=f"row 5: '{column}' has no value"):
        load_rows(labelled_task(), "test", 0)


def test_no_network_and_nothing_cached_is_one_line(monkeypatch, tmp_path):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path)
    with pytest.raises(UserError) as raised:
        load_rows(labelled_task(), "train", 0)
    message = str(raised.value)
    assert "no network and nothing cached: data set someone/something" in message
    assert "HF_HOME" in message
    assert "\n" not in message


@pytest.mark.parametrize("family", ["arithmetic", "world"])
def test_generated_rows(family):
    task = generation_task(source={"loader": "generated", "family": family})
    rows = load_rows(task, "selection", 0)
    assert [row["item"] for row in rows] == [0, 1, 2]
    assert all(set(row) == {"item", "question", "answer"} for row in rows)
    assert rows == load_rows(task, "selection", 0)
    assert describe(task) == {"loader": "generated", "family": family}


def test_an_unknown_family_is_refused():
    task = generation_task(source={"loader": "generated", "family": "nope"})
    with pytest.raises(UserError, match="no task family 'nope'"):
        load_rows(task, "train", 0)


def glue(slug: str, monkeypatch: pytest.MonkeyPatch, **source: Any) -> Task:
    monkeypatch.chdir(ROOT)
    data = config.load_task_config(slug)
    data["source"].pop("rows", None)  # QNLI's file there has fewer
    return Task.from_config(slug, data | {"source": data["source"] | source})


@pytest.mark.parametrize(
    ("slug", "train", "test"),
    [
        ("mrpc", 3668, 408),
        ("stsb", 5749, 1500),
        ("cola", 8551, 1043),
        ("rte", 2490, 277),
        ("qnli", 9999, 5463),  # of 104,743
        ("gsm8k", 7473, 1319),
    ],
)
def test_real_rows(slug, train, test, offline_hub, monkeypatch):
    task = glue(slug, monkeypatch)
    splits = {split: load_rows(task, split, 0) for split in ("train", "selection", "test")}
    assert {split: len(rows) for split, rows in splits.items()} == {
        "train": train - 500,
        "selection": 500,
        "test": test,
    }
    cut = {row["item"] for row in splits["selection"]}
    assert not cut & {row["item"] for row in splits["train"]}


def test_the_manifest_names_the_commit_that_the_cache_holds(offline_hub, monkeypatch):
    assert describe(glue("mrpc", monkeypatch)) == {
        "loader": "hub",
        "path": "nyu-mll/glue",
        "name": "mrpc",
        "revision": None,
        "commit": "0" * 40,
    }


def test_another_commit_than_the_pinned_one_is_refused(offline_hub, monkeypatch):
    task = glue("mrpc", monkeypatch, revision="a" * 40)
    with pytest.raises(UserError, match=f"the cache holds commit {'0' * 40}, not {'a' * 40}"):
        load_rows(task, "train", 0)


def test_an_unknown_configuration_is_one_line(offline_hub, monkeypatch):
    with pytest.raises(UserError) as raised:
        load_rows(glue("mrpc", monkeypatch, name="nope"), "train", 0)
    assert "data set nyu-mll/glue, nope: Couldn't find cache" in str(raised.value)
    assert "\n" not in str(raised.value)


def test_reading_writes_nothing_into_the_cache(offline_hub, monkeypatch):
    def state() -> dict[str, float]:
        files = (offline_hub / "datasets").rglob("*.arrow")
        return {str(path): path.stat().st_mtime for path in files}

    before = state()
    load_rows(glue("mrpc", monkeypatch), "selection", 0)
    assert state() == before


@pytest.mark.parametrize(
    ("name", "content", "part"),
    [
        ("train.csv", b"a,b\n1,2\n3,4,5\n", "Expected 2 fields in line 3, saw 3"),
        ("train.csv", b"\xff\xfe\x00\x81" * 99, "codec can't decode"),
        ("train.jsonl", b'{"a": 1}\n{"a":\n', "JSON parse error"),
        ("train.jsonl", b"", "StopIteration"),
        ("train.parquet", b"PAR1", "Parquet"),
        ("train.pkl", b"cos\nsystem\n(S'touch ran'\ntR.", "No (supported) data files"),
        ("rows.py", b"open('ran', 'w')\n", "scripts are no longer supported"),
    ],
)
def test_damaged_data_and_data_that_are_code_are_refused_in_one_line(
    tmp_path, monkeypatch, name, content, part
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    folder = tmp_path / "rows"
    folder.mkdir()
    (folder / name).write_bytes(content)
    with pytest.raises(UserError) as found:
        sources._load_hub(HubSource(str(folder), None, None), "train")
    assert str(found.value).startswith(f"data set {folder}: ")
    assert part in str(found.value)
    assert "\n" not in str(found.value)
    assert not (tmp_path / "ran").exists()
