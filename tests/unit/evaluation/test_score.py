from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from datasets import Dataset

from lorasb.errors import UserError
from lorasb.evaluation.score import (
    ITEM_COLUMNS,
    METRIC_COLUMNS,
    primary_value,
    score_cells,
    score_rows,
)
from lorasb.files import read_jsonl, write_jsonl
from lorasb.tasks.prepare import write_prepared
from lorasb.tasks.task import Task
from tests.unit.text import (
    LABELLED,
    SET,
    generation_task,
    labelled_task,
    regression_task,
    sets_task,
)

NUMBERS = {"strict": "whole_answer", "flexible": "last_value"}
ANSWERS = ["1 + 2 = 3 .", "5 .", "7 ."]


def rows(predictions: list[Any], labels: list[Any]) -> list[dict[str, Any]]:
    return [
        {"item": item, "prediction": prediction, "label": label}
        for item, (prediction, label) in enumerate(zip(predictions, labels, strict=True))
    ]


def test_strict_and_flexible_answers():
    # the whole answer; another way to the same number; nothing
    predictions = rows(["1 + 2 = 3 .", "4 + 1 = 5", "no idea"], ANSWERS)
    metrics, items = score_rows(generation_task(answers=NUMBERS), predictions)
    assert metrics == {
        "accuracy_strict": pytest.approx(1 / 3),
        "accuracy_flexible": pytest.approx(2 / 3),
    }
    assert [row["correct"] for row in items] == [1.0, 1.0, 0.0]
    assert items[1] == {
        "item": 1,
        "prediction": "5",
        "label": "5",
        "strict": 0.0,
        "flexible": 1.0,
        "correct": 1.0,
    }
    assert [row["prediction"] for row in items] == ["3", "5", None]


def test_correct_follows_the_primary_metric():
    predictions = rows(["1 + 2 = 3 .", "4 + 1 = 5", "no idea"], ANSWERS)
    _, items = score_rows(generation_task(answers=NUMBERS, primary="accuracy_strict"), predictions)
    assert [row["correct"] for row in items] == [1.0, 0.0, 0.0]
    assert [row["flexible"] for row in items] == [1.0, 1.0, 0.0]
    # what is compared is what the strict rule reads
    assert [row["prediction"] for row in items] == ["1 + 2 = 3 .", "4 + 1 = 5", "no idea"]
    assert [row["label"] for row in items] == ANSWERS


def test_empty_and_endless_predictions_are_wrong_answers():
    metrics, items = score_rows(
        generation_task(answers=NUMBERS), rows(["", "3 " * 500, "7"], ANSWERS)
    )
    assert metrics == {"accuracy_strict": 0.0, "accuracy_flexible": pytest.approx(1 / 3)}
    assert [row["correct"] for row in items] == [0.0, 0.0, 1.0]


def test_a_gold_answer_without_an_answer_is_refused():
    with pytest.raises(UserError, match=r"item 1: the extractor last_value \(answers.flexible\)"):
        score_rows(generation_task(answers=NUMBERS), rows(["3", "5"], ["3", "five"]))


def test_a_rule_with_two_extractors_and_a_comparator():
    rules = {
        "strict": {"prediction": "stated_latex", "gold": "boxed_latex"},
        "flexible": {
            "prediction": "last_expression",
            "gold": "boxed_expression",
            "compare": "math_verify",
        },
    }
    gold = "so \\boxed{(x+1)^2}"
    replies = ["The answer is: (x+1)^2", "The answer is: x^2+2x+1", "\\frac", ""]
    metrics, items = score_rows(generation_task(answers=rules), rows(replies, [gold] * 4))
    assert metrics == {"accuracy_strict": 0.25, "accuracy_flexible": 0.5}
    assert [row["correct"] for row in items] == [1.0, 1.0, 0.0, 0.0]


def test_classes():
    task = labelled_task(metrics=["accuracy", "f1"])
    metrics, items = score_rows(task, rows([1, 0, 1, 1], [1, 1, 0, 1]))
    # 2 true positives, 1 false positive, 1 false negative
    assert metrics == {"accuracy": 0.5, "f1": pytest.approx(2 / 3)}
    assert items[1] == {"item": 1, "prediction": "0", "label": "1", "correct": 0.0}
    assert [row["correct"] for row in items] == [1.0, 0.0, 0.0, 1.0]


def test_f1_of_more_than_two_classes_is_their_mean():
    task = labelled_task(num_labels=6, metrics=["f1"], primary="f1")
    # F1 of classes 0, 1, 2 and 5 is 2/3, 4/5, 0 and 0; 3 and 4 are neither predicted nor there
    metrics, _ = score_rows(task, rows([0, 0, 1, 1, 2], [0, 1, 1, 1, 5]))
    assert metrics == {"f1": pytest.approx((2 / 3 + 4 / 5) / 4)}
    # two of six classes are not a task of two
    metrics, _ = score_rows(task, rows([0, 0, 1, 1], [0, 1, 1, 1]))
    assert metrics == {"f1": pytest.approx((2 / 3 + 4 / 5) / 2)}


def test_numbers_are_neither_right_nor_wrong():
    metrics, items = score_rows(regression_task(), rows([1.0, 2.0, 9.0], [2.0, 4.0, 5.0]))
    assert metrics["spearman"] == pytest.approx(1.0)
    assert 0.8 < metrics["pearson"] < 0.9
    assert [row["prediction"] for row in items] == ["1.0", "2.0", "9.0"]
    assert all(math.isnan(row["correct"]) for row in items)


def test_a_prediction_that_is_not_finite_is_refused():
    with pytest.raises(UserError, match="item 1: the prediction nan is not finite"):
        score_rows(regression_task(), rows([1.0, math.nan], [2.0, 4.0]))


def test_nothing_to_score_is_an_error():
    with pytest.raises(UserError, match="no predictions"):
        score_rows(labelled_task(), [])


class Study:
    """Prepared rows of one split and the prediction files of some cells."""

    def __init__(self, folder: Path, task: Task, gold: dict[str, list[Any]]) -> None:
        self.folder, self.task = folder, task
        write_prepared({"test": Dataset.from_dict(gold)}, {}, folder / "data")
        self.cells: list[tuple[dict[str, Any], Path]] = []

    def add(self, predictions: list[dict[str, Any]], **columns: Any) -> None:
        path = self.folder / f"{len(self.cells)}.jsonl"
        write_jsonl(path, predictions)
        cell = {"model": "m", "task": "t", "variant": "v", "rank": 4, "lr": "1e-4", "seed": 0}
        self.cells.append((cell | columns, path))

    def score(self) -> tuple[pd.DataFrame, pd.DataFrame]:
        metrics, items = self.folder / "test.metrics.csv", self.folder / "test.items.parquet"
        score_cells(
            self.task,
            self.cells,
            split_path=self.folder / "data/test.parquet",
            metrics_path=metrics,
            items_path=items,
        )
        return pd.read_csv(metrics, dtype={"lr": str}), pd.read_parquet(items)


@pytest.fixture
def study(tmp_path: Path) -> Study:
    task = labelled_task(metrics=["accuracy", "f1"])
    return Study(tmp_path, task, {"item": [3, 5, 8], "labels": [1, 0, 1]})


def predicted(classes: list[int], items: tuple[int, ...] = (3, 5, 8)) -> list[dict[str, Any]]:
    gold = {3: 1, 5: 0, 8: 1}
    return [
        {"item": item, "prediction": value, "label": gold.get(item, 0)}
        for item, value in zip(items, classes, strict=True)
    ]


def test_tables_of_two_cells(study):
    study.add(predicted([1, 0, 1]), lr="1e-4")
    study.add(predicted([1, 1, 0]), lr="2.5e-3", seed=1)
    metrics, items = study.score()
    assert list(metrics) == METRIC_COLUMNS
    assert list(items) == ITEM_COLUMNS
    assert metrics[["lr", "seed", "metric", "primary", "items"]].values.tolist() == [
        ["1e-4", 0, "accuracy", True, 3],
        ["1e-4", 0, "f1", False, 3],
        ["2.5e-3", 1, "accuracy", True, 3],
        ["2.5e-3", 1, "f1", False, 3],
    ]
    # second cell: 1 true positive, 1 false positive, 1 false negative
    assert metrics["value"].tolist() == pytest.approx([1.0, 1.0, 1 / 3, 0.5])
    assert set(metrics["split"]) == {"test"}
    assert metrics["set"].isna().all()
    assert set(items["set"]) == {""}
    assert items["item"].tolist() == [3, 5, 8, 3, 5, 8]
    assert items["metric"].unique().tolist() == ["accuracy"]
    assert items["correct"].tolist() == [1.0, 1.0, 1.0, 1.0, 0.0, 0.0]
    assert items["prediction"].tolist() == ["1", "0", "1", "1", "1", "0"]
    assert items[["strict", "flexible"]].isna().all(axis=None)


def test_scores_are_means_over_their_items(study):
    study.add(predicted([1, 1, 1]))
    study.add(predicted([0, 0, 1]), seed=1)
    metrics, items = study.score()
    accuracy = metrics[metrics["metric"] == "accuracy"].set_index("seed")["value"]
    pd.testing.assert_series_equal(
        accuracy, items.groupby("seed")["correct"].mean(), check_names=False
    )


def test_the_same_predictions_give_the_same_bytes(study):
    study.add(predicted([1, 0, 1]))
    study.score()
    files = [study.folder / "test.metrics.csv", study.folder / "test.items.parquet"]
    before = [file.read_bytes() for file in files]
    study.score()
    assert [file.read_bytes() for file in files] == before


def test_no_cell_gives_tables_with_headers(study):
    metrics, items = study.score()
    assert (list(metrics), len(metrics)) == (METRIC_COLUMNS, 0)
    assert (list(items), len(items)) == (ITEM_COLUMNS, 0)


def test_generated_answers_are_compared_with_the_split(tmp_path):
    study = Study(
        tmp_path, generation_task(answers=NUMBERS), {"item": [0, 1], "answer": ["3 .", "5 ."]}
    )
    study.add(rows(["3 .", "4"], ["3 .", "5 ."]))
    metrics, items = study.score()
    assert metrics["value"].tolist() == [0.5, 0.5]
    columns = ["prediction", "label", "strict", "flexible", "correct"]
    assert items[columns].values.tolist() == [["3", "3", 1.0, 1.0, 1.0], ["4", "5", 0.0, 0.0, 0.0]]


def test_each_evaluation_set_has_its_score_and_the_split_their_mean(tmp_path):
    gold = ["5", "6", "7", "option1", "option2"]
    sets = ["short"] * 3 + ["long"] * 2
    study = Study(
        tmp_path, sets_task(answers=NUMBERS), {"item": list(range(5)), "answer": gold, "set": sets}
    )
    # "so 6" is right by short's flexible rule only; long's looks for options
    study.add(rows(["5", "so 6", "no", "option1", "2"], gold))
    study.add(rows(gold, gold), seed=1)
    metrics, items = study.score()
    one = metrics[metrics["seed"] == 0].fillna({"set": ""})
    assert one[["set", "metric", "items"]].values.tolist() == [
        ["", "accuracy_flexible", 5],
        ["", "accuracy_strict", 5],
        ["short", "accuracy_flexible", 3],
        ["short", "accuracy_strict", 3],
        ["long", "accuracy_flexible", 2],
        ["long", "accuracy_strict", 2],
    ]
    flexible, strict = [2 / 3, 1 / 2], [1 / 3, 1 / 2]
    expected = [np.mean(flexible), np.mean(strict)]
    expected += [flexible[0], strict[0], flexible[1], strict[1]]
    assert one["value"].tolist() == pytest.approx(expected)
    assert metrics.loc[metrics["seed"] == 1, "value"].eq(1.0).all()
    path = tmp_path / "data/test.parquet"
    replies = read_jsonl(study.cells[0][1])
    assert primary_value(sets_task(answers=NUMBERS), replies, path) == pytest.approx(
        np.mean(flexible)
    )
    other = sets_task(answers=NUMBERS, primary="accuracy_strict")
    assert primary_value(other, replies, path) == pytest.approx(np.mean(strict))
    assert items["set"].tolist() == sets * 2
    assert items["correct"].tolist() == [1.0, 1.0, 0.0, 1.0, 0.0] + [1.0] * 5


def test_a_labelled_task_with_sets_has_the_mean_of_theirs(tmp_path):
    task = labelled_task(
        splits=LABELLED["splits"] | {"test": {"sets": {"matched": SET, "mismatched": SET}}}
    )
    sets = ["matched"] * 4 + ["mismatched"] * 2
    labels = [0, 1, 1, 0, 1, 0]
    study = Study(tmp_path, task, {"item": list(range(6)), "labels": labels, "set": sets})
    study.add(rows([0, 1, 1, 1, 1, 1], labels))
    metrics, items = study.score()
    assert metrics.fillna({"set": ""})[["set", "value", "items"]].values.tolist() == [
        ["", (3 / 4 + 1 / 2) / 2, 6],
        ["matched", 3 / 4, 4],
        ["mismatched", 1 / 2, 2],
    ]
    assert items["correct"].tolist() == [1.0, 1.0, 1.0, 0.0, 1.0, 0.0]


@pytest.mark.parametrize(
    ("predictions", "message"),
    [
        (predicted([1, 1], (3, 8)), "1 of 3 items missing, first item 5"),
        (predicted([1, 0, 1, 1], (3, 5, 8, 9)), "1 of 3 items not in the split, first item 9"),
        (predicted([1, 0, 1, 1], (3, 5, 8, 8)), "1 of 3 items there twice, first item 8"),
        (
            [row | {"label": 1} for row in predicted([1, 0, 1])],
            "1 of 3 items with another label than in the split, first item 5",
        ),
    ],
)
def test_predictions_of_other_items_are_refused(study, predictions, message):
    study.add(predictions)
    with pytest.raises(UserError, match=message) as raised:
        study.score()
    assert str(study.cells[0][1]) in str(raised.value)
    assert not (study.folder / "test.metrics.csv").exists()
