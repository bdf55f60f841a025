"""Likelihood of given answers against full passes one by one, and what is scored of it."""

from __future__ import annotations

import copy
from typing import Any

import pandas as pd
import pytest
import torch
from datasets import Dataset

from lorasb.errors import UserError
from lorasb.evaluation import likelihood
from lorasb.evaluation.likelihood import choices, likelihoods
from lorasb.evaluation.predict import predict
from lorasb.evaluation.score import score_cells, score_rows
from lorasb.files import write_jsonl
from lorasb.tasks.prepare import write_prepared
from lorasb.tasks.task import GenerationTask, Task
from lorasb.tidy.sweep import select_rates
from tests.unit.text import GENERATED, SET, word_tokenizer
from tests.unit.tiny import VOCABULARY, sequences, tiny_llama

LENGTHS = [3, 9, 1, 6]
GOLD = ["one plus two", "is", "two", "one is two plus"]
OPTIONS = [["one plus two", "one"], ["one", "is"], ["two", "one", "is"], ["one is two plus", "one"]]
METRICS = ["accuracy_flexible", "accuracy_strict", "answer_loss", "choice", "choice_norm"]
# float32 sums of a few terms in another order
ROUNDING = {"rel": 1e-5, "abs": 1e-6}


def task(**changes: Any) -> GenerationTask:
    data = copy.deepcopy(GENERATED) | {
        "metrics": METRICS,
        "options": {"text": "{option}", "names": ["one", "two", "is"]},
    }
    found = Task.from_config("generated", data | changes)
    assert isinstance(found, GenerationTask)
    return found


def of_sets(sets: dict[str, Any]) -> dict[str, Any]:
    """The keys of a task that has these evaluation sets."""
    return copy.deepcopy(GENERATED) | {
        "metrics": METRICS,
        "source": {"loader": "hub", "path": "a/b", "name": None, "revision": None},
        "splits": {
            "train": {"from": "train", "rows": None},
            "selection": {"from": "train", "rows": 2},
            "test": {"sets": sets},
        },
    }


def rows() -> list[dict[str, Any]]:
    prompts = [sequence.tolist() for sequence in sequences(1, LENGTHS)]
    return [
        {"item": index, "input_ids": ids, "answer": gold, "options": options}
        for index, (ids, gold, options) in enumerate(zip(prompts, GOLD, OPTIONS, strict=True))
    ]


@torch.no_grad()
def slow(prompt: list[int], answer: str) -> list[float]:
    """The definition: a full pass for each token, no padding, all logits, float64."""
    model, tokenizer = tiny_llama(0).double(), word_tokenizer()
    ids = [*tokenizer(answer, add_special_tokens=False)["input_ids"], tokenizer.eos_token_id]
    found = []
    for number, token in enumerate(ids):
        logits = model(input_ids=torch.tensor([prompt + ids[:number]])).logits[0, -1]
        found.append(float(logits.log_softmax(-1)[token]))
    return found


@pytest.mark.parametrize("batch_size", [1, 3, 100])
def test_loss_and_options_are_those_of_full_passes_one_by_one(batch_size):
    with torch.no_grad():
        found = likelihoods(tiny_llama(0), word_tokenizer(), rows(), batch_size)
    for row, values in zip(rows(), found, strict=True):
        gold = slow(row["input_ids"], row["answer"])
        assert values["answer_loss"] == pytest.approx(-sum(gold) / len(gold), **ROUNDING)
        assert list(values["options"]) == row["options"]
        for text, value in values["options"].items():
            # the end of the text is no part of an option, as in lm-evaluation-harness
            assert value == pytest.approx(sum(slow(row["input_ids"], text)[:-1]), **ROUNDING)


def test_fewer_rows_make_a_batch_where_their_logits_would_be_too_many(monkeypatch):
    model, sizes = tiny_llama(0), []
    model.register_forward_pre_hook(
        lambda module, inputs, named: sizes.append(tuple(named["input_ids"].shape)),
        with_kwargs=True,
    )
    with torch.no_grad():
        expected = likelihoods(model, word_tokenizer(), rows(), 100)
        (whole,) = sizes
        sizes.clear()
        monkeypatch.setattr(likelihood, "LOGITS_AT_ONCE", 3 * whole[1] * VOCABULARY)
        found = likelihoods(model, word_tokenizer(), rows(), 100)
    assert sizes[0] == (3, whole[1])
    assert all(count * length <= 3 * whole[1] for count, length in sizes)
    for one, other in zip(found, expected, strict=True):
        assert one["answer_loss"] == pytest.approx(other["answer_loss"], **ROUNDING)
        assert one["options"] == pytest.approx(other["options"], **ROUNDING)


def test_the_loss_is_what_training_minimises():
    model, tokenizer, row = tiny_llama(0), word_tokenizer(), rows()[0]
    answer = [*tokenizer(row["answer"], add_special_tokens=False)["input_ids"], 1]
    ids = torch.tensor([row["input_ids"] + answer])
    labels = ids.clone()
    labels[:, : len(row["input_ids"])] = -100
    with torch.no_grad():
        (found,) = likelihoods(model, tokenizer, [row], 1)
        own = model(input_ids=ids, labels=labels).loss.item()
    assert found["answer_loss"] == pytest.approx(own, **ROUNDING)


def test_a_long_option_may_win_by_length_alone():
    assert choices({"no": -2.0, "certainly": -4.5}) == {"choice": "no", "choice_norm": "certainly"}
    assert choices({"a": -1.0, "b": -1.0}) == {"choice": "a", "choice_norm": "a"}


def test_predictions_have_them_where_the_task_asks():
    model = tiny_llama(0)
    arguments = {"tokenizer": word_tokenizer(), "batch_size": 2, "progress": False}
    dataset = Dataset.from_list(rows())
    found = predict(model, task=task(), dataset=dataset, **arguments)
    plain = predict(
        model, task=Task.from_config("generated", GENERATED), dataset=dataset, **arguments
    )
    assert all(row.keys() == {"item", "prediction", "label"} for row in plain)
    assert [row["prediction"] for row in found] == [row["prediction"] for row in plain]
    assert [list(row["options"]) for row in found] == OPTIONS
    assert all(row["answer_loss"] > 0 for row in found)


def test_without_replies_a_row_has_the_likelihoods_alone(monkeypatch):
    model = tiny_llama(0)
    arguments = {"tokenizer": word_tokenizer(), "batch_size": 2, "progress": False}
    dataset = Dataset.from_list(rows())
    found = predict(model, task=task(), dataset=dataset, **arguments)
    monkeypatch.setattr(model, "generate", None)  # costs most of the time
    alone = predict(model, task=task(), dataset=dataset, replies=False, **arguments)
    assert alone == [{k: v for k, v in row.items() if k != "prediction"} for row in found]


def test_a_bar_runs_while_likelihoods_do_and_none_for_replies_not_asked_for(capsys):
    dataset = Dataset.from_list(rows())
    predict(tiny_llama(0), word_tokenizer(), task(), dataset, batch_size=2, replies=False)
    said = capsys.readouterr().err
    assert "likelihood: 100%" in said
    assert "predict" not in said


@pytest.mark.parametrize(
    ("chosen_by", "asked"),
    [("answer_loss", False), ("choice", False), ("accuracy_strict", True)],
)
def test_replies_are_not_asked_for_where_likelihood_chooses_the_rate(chosen_by, asked):
    found = task(selection_metric=chosen_by)
    assert found.asks_replies("selection") == asked
    assert found.asks_replies("test")


def test_a_model_that_is_not_finite_is_refused():
    model = tiny_llama(0)
    with torch.no_grad():
        model.lm_head.weight.fill_(torch.nan)
        with pytest.raises(UserError, match="the likelihood of an answer is not finite"):
            likelihoods(model, word_tokenizer(), rows(), 2)


def predicted() -> list[dict[str, Any]]:
    return [
        {"item": 3, "prediction": "one", "label": "one", "answer_loss": 0.5,
         "options": {"one": -1.0, "two": -2.0}},
        {"item": 5, "prediction": "", "label": "two", "answer_loss": 2.5,
         "options": {"one": -1.0, "two": -2.0}},
    ]  # fmt: skip


def test_scores_are_means_and_each_item_has_its_own():
    metrics, items = score_rows(task(), predicted())
    assert metrics["answer_loss"] == 1.5
    assert metrics["choice"] == metrics["choice_norm"] == 0.5
    assert [row["answer_loss"] for row in items] == [0.5, 2.5]
    assert [row["choice"] for row in items] == [1.0, 0.0]


@pytest.fixture
def scored(tmp_path):
    """Scores predictions as those of a split; the table of items, beside that of metrics."""
    dataset = Dataset.from_list(
        [{"item": row["item"], "input_ids": [1], "answer": row["label"]} for row in predicted()]
    )
    columns = dict.fromkeys(("model", "task", "variant"), "a") | {"rank": 0, "lr": "0", "seed": 0}

    def score(one: Task, predictions: list[dict[str, Any]], split: str = "test") -> pd.DataFrame:
        write_prepared({split: dataset}, {}, tmp_path)
        write_jsonl(tmp_path / "predictions.jsonl", predictions)
        files = {"metrics_path": tmp_path / "m.csv", "items_path": tmp_path / "i.parquet"}
        cells = [(columns, tmp_path / "predictions.jsonl")]
        score_cells(one, cells, split_path=tmp_path / f"{split}.parquet", **files)
        return pd.read_parquet(tmp_path / "i.parquet")

    return score


def test_tables_have_a_column_for_each_and_others_have_none(scored):
    assert scored(task(), predicted())["answer_loss"].tolist() == [0.5, 2.5]
    plain = [{key: row[key] for key in ("item", "prediction", "label")} for row in predicted()]
    assert "answer_loss" not in scored(Task.from_config("generated", GENERATED), plain)
    for other, predictions in ((task(), plain), (Task.from_config("g", GENERATED), predicted())):
        with pytest.raises(UserError, match="line 1: not a prediction"):
            scored(other, predictions)


def test_a_split_without_replies_is_scored_by_likelihood_alone(scored, tmp_path):
    by_loss, by_reply = (task(selection_metric=m) for m in ("answer_loss", "accuracy_strict"))
    plain = [{k: v for k, v in row.items() if k != "prediction"} for row in predicted()]
    assert scored(by_loss, plain, "selection")["answer_loss"].tolist() == [0.5, 2.5]
    metrics = pd.read_csv(tmp_path / "m.csv").set_index("metric")["value"]
    assert metrics.to_dict() == {"answer_loss": 1.5, "choice": 0.5, "choice_norm": 0.5}
    # with replies, as rows were written before they could be left out
    scored(by_loss, predicted(), "selection")
    assert list(pd.read_csv(tmp_path / "m.csv")["metric"]) == METRICS
    for one, split in ((by_loss, "test"), (by_reply, "selection")):
        with pytest.raises(UserError, match="0 of 2 rows have a prediction, 2 are asked for"):
            scored(one, plain, split)


def test_so_many_rows_have_replies_as_the_task_says():
    arguments = {"tokenizer": word_tokenizer(), "batch_size": 3, "progress": False}
    dataset = Dataset.from_list(rows())
    whole = predict(tiny_llama(0), task=task(), dataset=dataset, **arguments)
    found, *others = (
        predict(tiny_llama(seed), task=task(replies=2), dataset=dataset, **arguments)
        for seed in range(5)
    )
    replied = [row["item"] for row in found if "prediction" in row]
    assert len(replied) == 2
    for other in others:
        assert [row["item"] for row in other if "prediction" in row] == replied
    for row, same in zip(found, whole, strict=True):
        assert row == {key: value for key, value in same.items() if key in row}


def test_each_set_has_its_replies():
    data = of_sets({"x": SET, "y": SET}) | {"metrics": METRICS[:3], "replies": 1}
    dataset = Dataset.from_list([row | {"set": "xxxy"[row["item"]]} for row in rows()])
    found = predict(
        tiny_llama(0), word_tokenizer(), Task.from_config("g", data), dataset, batch_size=2
    )
    assert ["prediction" in row for row in found].count(True) == 2
    assert "prediction" in found[3]


def test_replies_are_scored_on_their_rows_and_likelihoods_on_all(scored, tmp_path):
    one = task(replies=1)
    first, second = predicted()
    del second["prediction"]
    items = scored(one, [first, second]).set_index("item")
    metrics = pd.read_csv(tmp_path / "m.csv").set_index("metric")
    assert metrics["items"].to_dict() == dict(zip(METRICS, [1, 1, 2, 2, 2], strict=True))
    assert metrics["value"]["accuracy_strict"] == 1.0
    assert metrics["value"]["answer_loss"] == 1.5
    assert items.loc[3, "correct"] == 1.0
    assert items.loc[5, ["prediction", "label", "strict", "correct"]].isna().all()
    with pytest.raises(UserError, match="1 of 2 rows have a prediction, 2 are asked for"):
        scored(task(), [first, second])


def test_a_rate_is_chosen_by_the_lowest_loss_and_the_highest_accuracy():
    sweep = pd.DataFrame(
        {
            **dict.fromkeys(("model", "task", "variant"), "a"),
            "rank": 0,
            "lr": ["1e-3", "1e-2", "1e-1"],
            "score": [2.0, 1.0, 3.0],
        }
    )
    assert list(select_rates(sweep.assign(metric="answer_loss"))["lr"]) == ["1e-2"]
    assert list(select_rates(sweep.assign(metric="accuracy"))["lr"]) == ["1e-1"]


OPTIONS_KEY = {"text": "{option}", "names": ["one", "two"]}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"primary": "answer_loss"}, "primary: answer_loss stands beside replies"),
        ({"primary": "choice"}, "primary: choice stands beside replies"),
        ({"selection_metric": "f1"}, "selection_metric: 'f1' is not one of metrics"),
        ({"replies": 3, "metrics": METRICS[:2]}, "replies: rows without one are scored by likeli"),
        ({"options": None}, "metrics: choice needs the key options"),
        ({"metrics": METRICS[:3]}, "options: no metric reads them"),
        ({"options": OPTIONS_KEY | {"text": "x"}}, r"options.text: no \{option\}"),
        ({"options": OPTIONS_KEY | {"names": ["one"]}}, "at least two names"),
    ],
)
def test_keys_that_do_not_go_together_are_one_line(changes, message):
    data = {**copy.deepcopy(GENERATED), "metrics": METRICS, "options": OPTIONS_KEY, **changes}
    with pytest.raises(UserError, match=message) as raised:
        Task.from_config("g", {key: value for key, value in data.items() if value is not None})
    assert "\n" not in str(raised.value)


def test_every_set_needs_options_of_its_own_or_of_the_task():
    data = of_sets({"x": SET | {"options": OPTIONS_KEY}, "y": SET})
    with pytest.raises(UserError, match=r"sets\.y: metrics: choice needs the key options"):
        Task.from_config("g", data)
    read = Task.from_config("g", data | {"options": OPTIONS_KEY})
    part = read.part("y")
    assert isinstance(part, GenerationTask)
    assert part.options is not None
    assert part.options.names == ("one", "two")


def test_an_item_has_the_options_that_its_prompt_names():
    options = task(options={"text": "it is {option}", "names": ["a1", "a2", "a10"]}).options
    assert options is not None
    assert options.of("a1: x, a10: y. Which?") == ["it is a1", "it is a10"]
    assert options.of("none") == []
