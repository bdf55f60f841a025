from __future__ import annotations

import copy
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from datasets import Dataset
from transformers import AutoTokenizer

from lorasb.bundled.tokenizer import build_tokenizer
from lorasb.config import read as config
from lorasb.errors import UserError
from lorasb.tasks import prepare as module
from lorasb.tasks import sources
from lorasb.tasks.answers import EXTRACTORS
from lorasb.tasks.downloads import load_file
from lorasb.tasks.prepare import prepare, read_split, write_prepared
from lorasb.tasks.task import SPLITS, Task
from tests.unit.tasks.test_task import ROOT
from tests.unit.text import (
    EOS,
    GENERATED,
    LABELLED,
    SEPARATOR,
    SET,
    SETS,
    START,
    generation_task,
    labelled_task,
    regression_task,
    sets_task,
    word_tokenizer,
)

QUESTIONS = [
    {"question": "w5 w6 w7", "answer": "w8 w9"},
    {"question": "w5", "answer": " "},
    {"question": "w10 w11 w12 w13 w14 w15", "answer": "w16"},
    {"question": "w20 w21 w22 w23", "answer": "w24 w25 w26"},
]


@pytest.fixture
def generated(monkeypatch):
    """`QUESTIONS` as the rows of every split."""
    import lorasb.bundled.families

    monkeypatch.setattr(lorasb.bundled.families, "split_rows", lambda *_: QUESTIONS)


def texts(monkeypatch: pytest.MonkeyPatch, **columns: list[Any]) -> None:
    sources._load_hub.cache_clear()
    monkeypatch.setattr(sources, "load_dataset", lambda *_, **__: Dataset.from_dict(columns))


def test_an_answer_follows_its_prompt_and_ends(generated):
    splits, _ = prepare(generation_task(), word_tokenizer(), max_length=20, seed=0)
    assert splits["train"].to_list()[0] == {
        "item": 0,
        "input_ids": [5, 6, 7, 8, 9, EOS],
        "labels": [-100, -100, -100, 8, 9, EOS],
    }
    assert splits["test"].to_list()[0] == {"item": 0, "input_ids": [5, 6, 7], "answer": "w8 w9"}


def test_special_tokens_start_the_prompt_and_never_the_answer(generated):
    splits, _ = prepare(generation_task(), word_tokenizer(start=True), max_length=20, seed=0)
    assert splits["train"][0]["input_ids"] == [START, 5, 6, 7, 8, 9, EOS]
    assert splits["test"][0]["input_ids"] == [START, 5, 6, 7]


def test_templates_go_around_prompt_and_answer(generated):
    task = generation_task(prompt="w30 {question} w31", answer="w32 {answer}")
    splits, manifest = prepare(task, word_tokenizer(), max_length=20, seed=0)
    assert splits["train"][0]["input_ids"] == [30, 5, 6, 7, 31, 32, 8, 9, EOS]
    # the row without an answer stays out although its template is not empty
    assert manifest["splits"]["train"]["dropped_empty_answers"] == 1


def test_what_is_cut_and_dropped_is_counted(generated):
    splits, manifest = prepare(generation_task(), word_tokenizer(), max_length=6, seed=0)
    train, test = splits["train"].to_list(), splits["test"].to_list()
    assert [row["item"] for row in train] == [0, 3]
    assert train[1]["input_ids"] == [20, 21, 22, 23, 24, 25]
    assert train[1]["labels"] == [-100] * 4 + [24, 25]
    assert [row["item"] for row in test] == [0, 2, 3]
    facts = manifest["splits"]["train"]
    # items 2 and 3 are too long; the prompt of item 2 leaves no room for its answer
    assert facts["truncated"] == 2
    assert facts["dropped_empty_answers"] == 1
    assert facts["dropped_long_prompts"] == 1
    assert facts["rows"] == 2
    assert facts["tokens"] == {"min": 6, "median": 6, "max": 6, "total": 12}


def test_a_prompt_to_answer_is_cut_at_its_front(generated):
    splits, manifest = prepare(generation_task(), word_tokenizer(), max_length=5, seed=0)
    assert splits["test"].to_list()[1]["input_ids"] == [11, 12, 13, 14, 15]
    assert manifest["splits"]["test"]["truncated"] == 1
    assert manifest["splits"]["test"]["rows"] == 3


def test_unknown_tokens_are_counted(generated, monkeypatch):
    monkeypatch.setitem(QUESTIONS[0], "question", "w5 elephant w7")
    _, manifest = prepare(generation_task(), word_tokenizer(), max_length=20, seed=0)
    assert {split: manifest["splits"][split]["unknown_tokens"] for split in SPLITS} == {
        "train": 1,
        "selection": 1,
        "test": 1,
    }


def test_duplicates_and_empty_prompts_are_kept_and_counted(generated, monkeypatch):
    rows = [QUESTIONS[0], QUESTIONS[3], QUESTIONS[0], {"question": " ", "answer": "w5"}]
    monkeypatch.setattr("lorasb.bundled.families.split_rows", lambda *_: rows)
    splits, manifest = prepare(generation_task(), word_tokenizer(start=True), max_length=20, seed=0)
    for split in SPLITS:
        facts = manifest["splits"][split]
        assert (facts["rows"], facts["duplicates"], facts["empty_prompts"]) == (4, 1, 1)
        assert len(splits[split]) == 4


def test_a_gold_text_without_an_answer_is_refused_before_training(generated):
    answers = {"strict": "whole_answer", "flexible": {"prediction": "option", "gold": "option"}}
    message = r"row 0: the extractor option \(answers.flexible\) finds nothing in the gold answer"
    with pytest.raises(UserError, match=message):
        prepare(generation_task(answers=answers), word_tokenizer(), max_length=20, seed=0)


def test_options_stand_beside_the_prompts_that_name_them(generated):
    names = ["w8 w9", "w16", "w24 w25 w26", "w5"]
    changes = {
        "metrics": ["accuracy_flexible", "choice"],
        "prompt": "{question} w8 w9 w16 w24 w25 w26",
        "options": {"text": "{option}", "names": names},
    }
    splits, _ = prepare(generation_task(**changes), word_tokenizer(), max_length=20, seed=0)
    assert splits["test"]["options"] == [names, names[:3], names[:3]]
    assert "options" not in splits["train"].column_names
    assert splits["selection"]["options"] == splits["test"]["options"]
    changes["options"] = {"text": "{option}", "names": ["w8 w9", "w5"]}
    with pytest.raises(UserError, match=r"the gold answer 'w16' is none of its options"):
        prepare(generation_task(**changes), word_tokenizer(), max_length=20, seed=0)


def test_evaluation_sets_follow_each_other_in_the_test_split(monkeypatch, tmp_path):
    answers = ["option1 w8", "option2 w9", "option3 w10"]
    texts(monkeypatch, question=["w5", "w6 w7", "w11"], answer=answers)
    splits, manifest = prepare(sets_task(), word_tokenizer(), max_length=20, seed=0)
    write_prepared(splits, manifest, tmp_path)
    test = read_split(tmp_path / "test.parquet").to_list()
    assert [row["item"] for row in test] == [0, 1, 2, 3, 4, 5]
    assert [row["set"] for row in test] == ["short"] * 3 + ["long"] * 3
    assert [row["input_ids"] for row in test] == [[5], [6, 7], [11], [30, 5], [30, 6, 7], [30, 11]]
    assert [row["answer"] for row in test] == answers * 2
    assert "set" not in splits["selection"].column_names
    facts = manifest["splits"]["test"]
    assert (facts["rows"], facts["truncated"]) == (6, 0)
    assert {name: one["rows"] for name, one in facts["sets"].items()} == {"short": 3, "long": 3}
    assert facts["sets"]["long"]["source"]["path"] == "someone/other"
    # lengths 1, 2, 1, and each a token longer
    assert {name: one["tokens"] for name, one in facts["sets"].items()} == {
        "short": {"min": 1, "median": 1, "max": 2, "total": 4},
        "long": {"min": 2, "median": 2, "max": 3, "total": 7},
    }
    assert facts["tokens"]["total"] == 11


@pytest.mark.parametrize("task", [labelled_task, regression_task])
def test_labelled_tasks_have_sets_too(task, monkeypatch, tmp_path):
    texts(monkeypatch, sentence=[f"w{row}" for row in range(5, 14)], label=[0, 1, 0] * 3)
    sets = {"test": {"sets": {"one": SET, "two": SET | {"rows": 4}}}}
    prepared = prepare(
        task(splits=LABELLED["splits"] | sets), word_tokenizer(), max_length=9, seed=0
    )
    write_prepared(*prepared, tmp_path)
    test = read_split(tmp_path / "test.parquet")
    assert test["set"] == ["one"] * 9 + ["two"] * 4
    assert len(set(test["item"])) == 13
    assert test.features["labels"] == prepared[0]["train"].features["labels"]
    facts = prepared[1]["splits"]["test"]
    assert (facts["rows"], facts["sets"]["two"]["rows"]) == (13, 4)


def test_no_row_left_is_an_error(generated):
    with pytest.raises(UserError, match="no row of the split train is left"):
        prepare(generation_task(), word_tokenizer(), max_length=1, seed=0)


def test_no_answer_at_all_is_an_error(monkeypatch):
    import lorasb.bundled.families

    monkeypatch.setattr(lorasb.bundled.families, "split_rows", lambda *_: QUESTIONS[1:2])
    with pytest.raises(UserError, match="all answers are empty"):
        prepare(generation_task(), word_tokenizer(), max_length=20, seed=0)


def test_a_tokenizer_without_an_end_is_refused(generated):
    tokenizer = word_tokenizer()
    tokenizer.eos_token = None
    with pytest.raises(UserError, match="no end-of-text token"):
        prepare(generation_task(), tokenizer, max_length=20, seed=0)


def test_pairs_get_separators_and_token_types(monkeypatch):
    texts(monkeypatch, a=["w5 w6"] * 9, b=[f"w{7 + row}" for row in range(9)], label=[1] * 9)
    task = labelled_task(columns={"text": ["a", "b"], "label": "label"})
    splits, _ = prepare(task, word_tokenizer(pairs=True), max_length=20, seed=0)
    assert splits["test"].to_list()[0] == {
        "item": 0,
        "labels": 1,
        "input_ids": [START, 5, 6, SEPARATOR, 7, SEPARATOR],
        "token_type_ids": [0, 0, 0, 0, 1, 1],
    }


def test_long_and_empty_texts_are_counted(monkeypatch):
    sentences = ["w5 w6 w7 w8", "w5", " ", "w9 w10 w11"] + ["w5"] * 5
    texts(monkeypatch, sentence=sentences, label=[0] * 9)
    splits, manifest = prepare(labelled_task(), word_tokenizer(start=True), max_length=4, seed=0)
    assert [len(ids) for ids in splits["test"].to_dict()["input_ids"][:4]] == [4, 2, 1, 4]
    assert manifest["splits"]["test"]["truncated"] == 1
    assert manifest["splits"]["test"]["empty_texts"] == 1
    assert "token_type_ids" not in splits["test"].column_names


def test_a_row_without_a_token_is_refused(monkeypatch):
    texts(monkeypatch, sentence=["w5", " ", *(f"w{row}" for row in range(6, 13))], label=[0] * 9)
    with pytest.raises(UserError, match=r"row 1: its text has no token; 'drop_rows: \[blank\]'"):
        prepare(labelled_task(), word_tokenizer(), max_length=9, seed=0)
    splits, manifest = prepare(
        labelled_task(drop_rows=["blank"]), word_tokenizer(), max_length=9, seed=0
    )
    assert splits["test"]["item"] == [0, *range(2, 9)]
    facts = manifest["splits"]
    assert facts["test"]["dropped_blank"] == 1
    assert facts["train"]["dropped_blank"] + facts["selection"]["dropped_blank"] == 1


@pytest.mark.parametrize(("split", "question"), [("test", ""), ("selection", "  "), ("test", "\n")])
def test_a_prompt_without_a_token_is_refused(monkeypatch, split, question):
    blank = [{"question": question, "answer": "w5"}]
    monkeypatch.setattr(
        "lorasb.bundled.families.split_rows",
        lambda _, name, *__: blank if name == split else QUESTIONS,
    )
    with pytest.raises(UserError, match=f"split {split}, row 0: its text has no token"):
        prepare(generation_task(), word_tokenizer(), max_length=20, seed=0)


def test_unlabelled_rows_are_left_out_where_the_task_says_so(monkeypatch):
    labels = [0, -1, 1, 0, -1, 1, 0, None, 1]
    texts(monkeypatch, sentence=[f"w{row}" for row in range(5, 14)], label=labels)
    with pytest.raises(UserError, match=r"'drop_rows: \[unlabelled\]' of the task leaves"):
        prepare(labelled_task(), word_tokenizer(), max_length=9, seed=0)
    task = labelled_task(drop_rows=["unlabelled"])
    splits, manifest = prepare(task, word_tokenizer(), max_length=9, seed=0)
    assert splits["test"]["labels"] == [0, 1, 0, 1, 0, 1]
    assert manifest["splits"]["test"]["dropped_unlabelled"] == 3
    assert len(splits["train"]) + len(splits["selection"]) == 6


def test_no_labelled_row_at_all_is_one_line(monkeypatch):
    texts(monkeypatch, sentence=[f"w{row}" for row in range(5, 14)], label=[-1] * 9)
    task = labelled_task(drop_rows=["unlabelled", "blank"])
    with pytest.raises(UserError, match=r"the split train is left \(dropped_unlabelled 5\)$"):
        prepare(task, word_tokenizer(), max_length=9, seed=0)


def test_numbers_keep_every_digit(monkeypatch, tmp_path):
    label = 3.8  # float32 would make it 3.799999952316284
    texts(monkeypatch, sentence=[f"w{5 + row}" for row in range(9)], label=[label] * 9)
    splits, manifest = prepare(regression_task(), word_tokenizer(), max_length=3, seed=0)
    write_prepared(splits, manifest, tmp_path)
    assert set(read_split(tmp_path / "test.parquet")["labels"]) == {label}


def test_overlap_is_counted_and_dropped_from_training_where_a_split_is_cut(monkeypatch):
    sentences = ["w5 w6", "W5, w6!", "w7", "w8", "w9", "w10", "w11", "w12", "w13"]
    texts(monkeypatch, sentence=sentences, label=[0] * 9)
    # items 0 and 1 are the first rows of a split each
    cut = {"train": {"from": "train", "rows": None}}
    cut |= {"selection": {"from": "train", "rows": 1, "take": "first"}}
    task = labelled_task(splits=cut | {"test": LABELLED["splits"]["test"]})
    splits, manifest = prepare(task, word_tokenizer(), max_length=9, seed=0)
    assert [row["item"] for row in splits["selection"].to_list()] == [0]
    assert [row["item"] for row in splits["train"].to_list()] == list(range(2, 9))
    facts = manifest["splits"]
    assert (facts["train"]["rows"], facts["train"]["dropped_overlap"]) == (7, 1)
    overlap = ["overlap_exact", "overlap_normalised", "overlap_left"]
    assert [facts["selection"][name] for name in overlap] == [0, 1, 0]
    # the test split is another one of the source, with the same rows: they stay in training
    assert [facts["test"][name] for name in overlap] == [8, 9, 7]


def test_overlap_of_sets_is_counted_with_the_columns_of_their_own_prompts(monkeypatch):
    def load(path: str, *_: Any, **__: Any) -> Dataset:
        column = "problem" if path == "someone/other" else "question"
        start = 8 if path == "someone/other" else 5
        rows = [f"w{start + row}" for row in range(6)]
        return Dataset.from_dict({column: rows, "answer": [f"option1 {row}" for row in rows]})

    sources._load_hub.cache_clear()
    monkeypatch.setattr(sources, "load_dataset", load)
    sets = copy.deepcopy(SETS["splits"]["test"]["sets"])
    sets["long"] |= {"prompt": "w30 {problem} w31", "drop_overlap": "exact"}
    task = sets_task(splits=SETS["splits"] | {"test": {"sets": sets}})
    splits, manifest = prepare(task, word_tokenizer(), max_length=9, seed=0)
    selected = {row["item"] for row in splits["selection"].to_list()}
    # rows 3 to 5 are the first three of the set `long`
    assert [row["item"] for row in splits["train"].to_list()] == sorted({0, 1, 2} - selected)
    dropped = len({3, 4, 5} - selected)
    assert manifest["splits"]["train"]["dropped_overlap"] == dropped > 0
    facts = manifest["splits"]["test"]
    assert facts["sets"]["long"]["overlap_exact"] == dropped
    assert facts["sets"]["long"]["overlap_left"] == 0
    assert facts["sets"]["short"]["overlap_exact"] == 4
    assert facts["overlap_exact"] == 4 + dropped


def test_dropping_every_training_row_is_one_line(monkeypatch):
    texts(monkeypatch, sentence=["w5"] * 9, label=[0] * 9)
    with pytest.raises(UserError, match=r"no row of the split train is left \(dropped_overlap 5\)"):
        prepare(labelled_task(), word_tokenizer(), max_length=9, seed=0)


def test_real_overlap(offline_hub, monkeypatch):
    """CoLA's validation sentences that are training sentences too, nothing cut from them."""
    monkeypatch.chdir(ROOT)
    sources._load_hub.cache_clear()
    data = config.load_task_config("cola")
    task = Task.from_config("cola", data | unselected(data["splits"]))
    tokenizer = AutoTokenizer.from_pretrained("sentence-transformers/all-MiniLM-L6-v2")
    splits, manifest = prepare(task, tokenizer, max_length=64, seed=0)
    facts = manifest["splits"]["test"]
    assert (facts["overlap_exact"], facts["overlap_normalised"], facts["rows"]) == (16, 19, 1043)
    assert len(splits["train"]) == 8551


def test_files_come_back_as_they_were_written(generated, tmp_path):
    splits, manifest = prepare(generation_task(), word_tokenizer(), max_length=20, seed=0)
    write_prepared(splits, manifest, tmp_path)
    for split in SPLITS:
        assert read_split(tmp_path / f"{split}.parquet").to_list() == splits[split].to_list()
    assert json.loads((tmp_path / "manifest.json").read_text()) == manifest


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a file that is trained on, under several names, and another one."""
    load_file.cache_clear()
    for name, start in (("train", 5), ("other", 20)):
        rows = [{"sentence": f"w{start + row}", "label": row % 2} for row in range(9)]
        (tmp_path / f"{name}.json").write_text(json.dumps(rows))
    shutil.copy(tmp_path / "train.json", tmp_path / "copy.json")
    (tmp_path / "link.json").symlink_to(tmp_path / "train.json")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def files_task(folder: str, test: str, **sets: Any) -> Task:
    named = {"train": {"path": "train.json"}, "test": {"path": test}}
    source = {"loader": "files", "folder": folder, "files": named}
    split = {"sets": sets} if sets else {"from": "test", "rows": None}
    return labelled_task(source=source, splits=LABELLED["splits"] | {"test": split})


@pytest.mark.parametrize("folder", [".", "absolute"])
def test_files_of_a_folder(files, folder):
    task = files_task(str(files) if folder == "absolute" else folder, "other.json")
    splits, manifest = prepare(task, word_tokenizer(), max_length=9, seed=0)
    assert (len(splits["train"]), len(splits["test"])) == (5, 9)
    assert set(manifest["source"]["files"]) == {"train", "test"}


@pytest.mark.parametrize("path", ["train.json", "./train.json", "copy.json", "link.json"])
def test_the_training_file_is_no_test_file(files, path):
    message = "splits.test.from: the file 'test' has the content of 'train', which is trained on"
    with pytest.raises(UserError, match=message):
        prepare(files_task(".", path), word_tokenizer(), max_length=9, seed=0)
    # an evaluation set, from a source of its own
    data = {"loader": "files", "folder": str(files), "files": {"mine": {"path": path}}}
    sets = {"one": SET | {"from": "test"}, "two": SET | {"source": data, "from": "mine"}}
    with pytest.raises(UserError, match=r"splits.test.sets.two.from: the file 'mine' has the con"):
        prepare(files_task(".", "other.json", **sets), word_tokenizer(), max_length=9, seed=0)


def test_splits_that_are_cut_from_one_file_are_apart(files):
    splits = {
        name: {"from": "train", "rows": rows} for name, rows in (("test", 3), ("train", None))
    }
    task = labelled_task(
        source={"loader": "files", "folder": ".", "files": {"train": {"path": "train.json"}}},
        splits=LABELLED["splits"] | splits,
    )
    prepared, _ = prepare(task, word_tokenizer(), max_length=9, seed=0)
    assert sorted(item for split in SPLITS for item in prepared[split]["item"]) == list(range(9))


def test_the_same_rows_give_the_same_bytes(generated, tmp_path):
    for name in ("one", "two"):
        prepared = prepare(generation_task(), word_tokenizer(), max_length=20, seed=0)
        write_prepared(*prepared, tmp_path / name)
    for file in ("train.parquet", "selection.parquet", "test.parquet", "manifest.json"):
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()


def test_the_hash_tells_other_content(generated, monkeypatch):
    def digest() -> str:
        _, manifest = prepare(generation_task(), word_tokenizer(), max_length=20, seed=0)
        return manifest["splits"]["train"]["sha256"]

    before = digest()
    monkeypatch.setitem(QUESTIONS[0], "answer", "w9 w8")
    assert digest() != before


def test_a_missing_split_is_one_line(tmp_path):
    with pytest.raises(UserError, match="no such file; run the rule 'prepare_task'"):
        read_split(tmp_path / "train.parquet")


@pytest.mark.parametrize("kept", [0, 3, 60, -1])
def test_a_split_cut_short_is_one_line(kept, generated, tmp_path):
    splits, manifest = prepare(generation_task(), word_tokenizer(), max_length=20, seed=0)
    write_prepared(splits, manifest, tmp_path)
    path = tmp_path / "train.parquet"
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(UserError, match="not a complete parquet file; delete it") as raised:
        read_split(path)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("slug", ["arithmetic", "world", "sentences"])
def test_the_generated_families(slug, monkeypatch):
    monkeypatch.chdir(ROOT)
    task = Task.from_config(slug, config.load_task_config(slug))
    rows = dict.fromkeys(SPLITS, 40)
    monkeypatch.setattr(
        module, "load_rows", lambda task, split, seed: sources.load_rows(task, split, seed)[:40]
    )
    splits, manifest = prepare(task, build_tokenizer(), max_length=64, seed=0)
    assert {split: len(splits[split]) for split in SPLITS} == rows
    for facts in manifest["splits"].values():
        assert facts["unknown_tokens"] == 0
        assert facts["truncated"] == 0
    if task.kind == "generation":
        longest = max(
            sum(label != -100 for label in row["labels"]) for row in splits["train"].to_list()
        )
        assert longest <= task.max_new_tokens
        for row in splits["test"].to_list():
            found = [EXTRACTORS[rule.gold](row["answer"]) for rule in task.answers.values()]
            assert None not in found


def test_real_pairs(offline_hub, monkeypatch):
    """Rows of MRPC as BERT has them: both texts, in order, decodable."""
    monkeypatch.chdir(ROOT)
    sources._load_hub.cache_clear()
    task = Task.from_config("mrpc", config.load_task_config("mrpc"))
    tokenizer = AutoTokenizer.from_pretrained("sentence-transformers/all-MiniLM-L6-v2")
    splits, manifest = prepare(task, tokenizer, max_length=64, seed=0)
    rows = sources.load_rows(task, "test", 0)
    for row, prepared in zip(rows[:20], splits["test"].to_list(), strict=False):
        alone = [tokenizer(row[name])["input_ids"] for name in ("sentence1", "sentence2")]
        whole = alone[0] + alone[1][1:]
        if len(whole) <= 64:
            assert prepared["input_ids"] == whole
        types = prepared["token_type_ids"]
        assert types == sorted(types)
        assert 0 < sum(types) < len(types)
        assert prepared["labels"] == row["label"]
    lengths = [len(ids) for ids in splits["test"].to_dict()["input_ids"]]
    assert max(lengths) == 64
    full = [len(tokenizer(row["sentence1"], row["sentence2"])["input_ids"]) for row in rows]
    assert manifest["splits"]["test"]["truncated"] == sum(length > 64 for length in full) > 0


def unselected(splits: dict[str, Any]) -> dict[str, Any]:
    return {"splits": splits | {"selection": splits["selection"] | {"rows": 0}}}


@pytest.mark.parametrize("pairs", [False, True])
def test_an_empty_selection_split_has_the_columns_of_the_other_rows(monkeypatch, tmp_path, pairs):
    texts(monkeypatch, sentence=[f"w{index}" for index in range(5, 17)], label=[0, 1] * 6)
    task = labelled_task(**unselected(LABELLED["splits"]))
    splits, manifest = prepare(task, word_tokenizer(pairs=pairs), max_length=20, seed=0)
    write_prepared(splits, manifest, tmp_path)
    found = read_split(tmp_path / "selection.parquet")
    assert found.to_list() == []
    assert (
        found.features == splits["train"].features == read_split(tmp_path / "test.parquet").features
    )
    assert ("token_type_ids" in found.column_names) == pairs
    assert [row["item"] for row in splits["train"].to_list()] == list(range(12))
    facts = manifest["splits"]["selection"]
    assert (facts["rows"], facts["tokens"]) == (0, {"min": 0, "median": 0, "max": 0, "total": 0})


def test_an_empty_selection_split_of_prompts(generated):
    task = generation_task(**unselected(GENERATED["splits"]))
    splits, manifest = prepare(task, word_tokenizer(), max_length=20, seed=0)
    assert len(splits["selection"]) == 0
    assert splits["selection"].features == splits["test"].features
    assert manifest["splits"]["selection"]["rows"] == 0
    assert manifest["splits"]["train"]["rows"] > 0


@pytest.mark.parametrize("split", ["train", "test"])
def test_no_other_split_may_be_empty(split):
    splits = LABELLED["splits"] | {split: LABELLED["splits"][split] | {"rows": 0}}
    with pytest.raises(UserError, match=rf"splits.{split}.rows: 0 is less than the minimum of 1"):
        labelled_task(splits=splits)
