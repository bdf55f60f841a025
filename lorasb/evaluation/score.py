"""From predictions to metrics and per-item scores. Needs no model and can be run again alone."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import pandas as pd

from lorasb.errors import UserError, remake
from lorasb.evaluation.likelihood import choices
from lorasb.files import atomic, read_jsonl, write_csv
from lorasb.study.cells import COLUMNS
from lorasb.tasks.answers import COMPARATORS, EXTRACTORS
from lorasb.tasks.checks import BY_LIKELIHOOD
from lorasb.tasks.metrics import compute
from lorasb.tasks.prepare import read_split
from lorasb.tasks.task import GenerationTask, Row, Rule, Task

METRIC_COLUMNS = [*COLUMNS, "split", "set", "metric", "value", "primary", "items"]
VERDICTS = ["strict", "flexible"]
ITEM_COLUMNS = [*COLUMNS, "set", "item", "metric", "prediction", "label", *VERDICTS, "correct"]
ROW = {"item", "label"}  # keys of a prediction besides the prediction itself
WHOLE = ""  # stands for a set: all of the split


def score_rows(task: Task, predictions: Sequence[Row]) -> tuple[dict[str, float], list[Row]]:
    """Metrics by name, and one row an item: `item`, `prediction`, `label`, `correct`.

    `prediction` and `label` are text: the class, the number, or the answers that the rule of the
    primary metric takes from the reply (None where it has none) and from the gold text. `correct`
    is 1.0 or 0.0, NaN for regression. Generated answers have it by both rules as `strict` and
    `flexible`, and what its metrics by likelihood are: nats, or 1.0 where the choice is right.
    Rows that no reply was asked for have these alone.

    Raises
    ------
    UserError
        If there is no prediction, if one is not finite, or if a gold answer holds none for the
        task's extractor.
    """
    if not predictions:
        raise UserError(f"task {task.name}: no predictions; nothing to score")
    if isinstance(task, GenerationTask):
        return _score_answers(task, predictions)
    return _score_numbers(task, predictions)


def score_cells(
    task: Task,
    cells: Sequence[tuple[Row, Path]],
    *,
    split_path: Path,
    metrics_path: Path,
    items_path: Path,
) -> None:
    """Score the prediction files of many cells of one task and split; write two tables.

    A cell is its columns (`lorasb.study.cells.COLUMNS`) and its predictions. `metrics_path` becomes
    a CSV file with one row a cell and metric, `items_path` a parquet file with one row a cell and
    item, with a column for each metric by likelihood.
    `set` names the evaluation set; rows where it is empty are of the whole split, and the value of
    a split with several sets is the mean of theirs.

    Raises
    ------
    UserError
        If a file has not exactly the items and labels of the split.
    """
    rows = {row["item"]: row for row in _labelled(split_path)}
    gold = {item: row["label"] for item, row in rows.items()}
    sets = {item: row["set"] for item, row in rows.items()}
    metrics: list[Row] = []
    items: list[Row] = []
    for columns, path in cells:
        predictions = read_jsonl(path)
        _check_rows(task, predictions, path)
        _check_items(predictions, gold, path)
        _check_replies(task, predictions, sets, split_path.stem, path)
        values, scored = _score_sets(task, predictions, sets)
        metrics += [
            {**columns, "split": split_path.stem, "primary": row["metric"] == task.primary, **row}
            for row in values
        ]
        items += [{**columns, "metric": task.primary, **row} for row in scored]
    write_csv(metrics_path, pd.DataFrame(metrics, columns=METRIC_COLUMNS))
    # empty for all rows of a task that is not generated
    table = pd.DataFrame(items, columns=[*ITEM_COLUMNS, *task.by_likelihood]).astype(
        dict.fromkeys(VERDICTS, float)
    )
    with atomic(items_path) as partial:
        table.to_parquet(partial, index=False)


def primary_value(task: Task, predictions: Sequence[Row], split_path: Path) -> float:
    """The task's score on a split: the primary metric, as the mean of the sets if there are any.

    Raises
    ------
    UserError
        As `score_rows`.
    """
    sets = {row["item"]: row["set"] for row in _labelled(split_path)}
    values, _ = _score_sets(task, predictions, sets)
    whole = {row["metric"]: row["value"] for row in values if row["set"] == WHOLE}
    return float(whole[task.primary])


def _score_sets(
    task: Task, predictions: Sequence[Row], sets: dict[int, str]
) -> tuple[list[Row], list[Row]]:
    """Rows of metrics, those of the whole split first, and rows of items; `sets` by item."""
    tables: dict[str, dict[str, float]] = {}
    items: list[Row] = []
    for name in dict.fromkeys(sets.values()):
        chosen = [row for row in predictions if sets[row["item"]] == name]
        tables[name], scored = score_rows(task.part(name), chosen)
        items += [{"set": name, **row} for row in scored]
    found = [metric for metric in task.metrics if all(metric in one for one in tables.values())]
    if WHOLE not in tables:
        means = {metric: fmean(values[metric] for values in tables.values()) for metric in found}
        tables = {WHOLE: means, **tables}
    metrics = [
        {
            "set": name,
            "metric": metric,
            "value": values[metric],
            "items": _number(metric, (row for row in items if name in (WHOLE, row["set"]))),
        }
        for name, values in tables.items()
        for metric in found
    ]
    return metrics, items


def _number(metric: str, items: Iterable[Row]) -> int:
    """How many items a metric is of: those predicted, where it is none by likelihood."""
    column = metric if metric in BY_LIKELIHOOD else "correct"
    return sum(column in row for row in items)


def _score_answers(
    task: GenerationTask, predictions: Sequence[Row]
) -> tuple[dict[str, float], list[Row]]:
    metrics: dict[str, float] = {}
    items: list[Row] = [{"item": row["item"]} for row in predictions]
    replied = [row for row in predictions if "prediction" in row]
    own = [item for item, row in zip(items, predictions, strict=True) if "prediction" in row]
    for role, rule in task.answers.items() if replied else ():
        judged = _judged(rule, replied, f"task {task.name}", role)
        verdicts = [right for _, _, right in judged]
        metrics[f"accuracy_{role}"] = compute("accuracy", verdicts, [True] * len(verdicts))
        for item, (found, gold, right) in zip(own, judged, strict=True):
            item[role] = float(right)
            if task.primary == f"accuracy_{role}":
                item |= {"prediction": found, "label": gold, "correct": float(right)}
    items = [item | _by_likelihood(task, row) for item, row in zip(items, predictions, strict=True)]
    metrics |= {name: fmean(item[name] for item in items) for name in task.by_likelihood}
    return metrics, items


def _by_likelihood(task: GenerationTask, row: Row) -> dict[str, float]:
    """The task's metrics by likelihood, of one item."""
    if not task.by_likelihood:
        return {}
    chosen = choices(row["options"]) if "options" in row else {}
    values = {name: float(text == row["label"]) for name, text in chosen.items()}
    values["answer_loss"] = row["answer_loss"]
    return {name: values[name] for name in task.by_likelihood}


def _judged(
    rule: Rule, predictions: Sequence[Row], where: str, role: str
) -> list[tuple[str | None, str | None, bool]]:
    """The answer found, the gold answer, and whether the former is right; without one it is not."""
    found = [EXTRACTORS[rule.prediction](row["prediction"]) for row in predictions]
    gold = [EXTRACTORS[rule.gold](row["label"]) for row in predictions]
    if None in gold:
        row = predictions[gold.index(None)]
        raise UserError(
            f"{where}, item {row['item']}: the extractor {rule.gold} (answers.{role}) "
            f"finds nothing in the gold answer {row['label']!r}"
        )
    answered = [
        (answer, right)
        for answer, right in zip(found, gold, strict=True)
        if answer is not None and right is not None
    ]
    verdicts = iter(COMPARATORS[rule.compare](answered))
    rights = [answer is not None and next(verdicts) for answer in found]
    return list(zip(found, gold, rights, strict=True))


def _score_numbers(task: Task, predictions: Sequence[Row]) -> tuple[dict[str, float], list[Row]]:
    found = [row["prediction"] for row in predictions]
    gold = [row["label"] for row in predictions]
    for row in predictions:
        if not math.isfinite(row["prediction"]):
            raise UserError(
                f"task {task.name}, item {row['item']}: the prediction {row['prediction']} is not "
                "finite"
            )
    metrics = {name: compute(name, found, gold, task.num_labels) for name in task.metrics}
    classes = task.kind == "classification"
    items = [
        {
            "item": row["item"],
            "prediction": str(row["prediction"]),
            "label": str(row["label"]),
            "correct": float(row["prediction"] == row["label"]) if classes else math.nan,
        }
        for row in predictions
    ]
    return metrics, items


def _labelled(split_path: Path) -> list[Row]:
    """Item, label and set of each row of a split."""
    rows = read_split(split_path)
    labels = "answer" if "answer" in rows.column_names else "labels"
    sets = rows["set"] if "set" in rows.column_names else [WHOLE] * len(rows)
    return [
        {"item": item, "label": label, "set": name}
        for item, label, name in zip(rows["item"], rows[labels], sets, strict=True)
    ]


def _check_rows(task: Task, predictions: Sequence[Row], path: Path) -> None:
    more = {"answer_loss", "options"} if task.by_likelihood else set()
    for number, row in enumerate(predictions, start=1):
        if not ROW | (more - {"options"}) <= row.keys() <= ROW | {"prediction"} | more:
            raise UserError(f"{path}, line {number}: not a prediction; {remake(path)}")


def _check_replies(
    task: Task, predictions: Sequence[Row], sets: dict[int, str], split: str, path: Path
) -> None:
    """Refuse other numbers of predictions than the task asks for; all rows may have one."""
    for name, rows in Counter(sets.values()).items():
        found = sum("prediction" in row for row in predictions if sets[row["item"]] == name)
        asked = min(rows, task.part(name).replies or rows) if task.asks_replies(split) else 0
        if found not in (asked, rows):
            of = f" of {name}" if name else ""
            raise UserError(
                f"{path}: {found} of {rows} rows{of} have a prediction, {asked} are asked for; "
                f"{remake(path)}"
            )


def _check_items(predictions: Sequence[Row], gold: dict[int, Any], path: Path) -> None:
    counts = Counter(row["item"] for row in predictions)
    missing = sorted(set(gold) - set(counts))
    unknown = sorted(set(counts) - set(gold))
    twice = sorted(item for item, count in counts.items() if count > 1)
    other = [row["item"] for row in predictions if row["label"] != gold.get(row["item"])]
    moved = [
        row["item"] for row, item in zip(predictions, gold, strict=False) if row["item"] != item
    ]
    for what, items in (
        ("missing", missing),
        ("not in the split", unknown),
        ("there twice", twice),
        ("with another label than in the split", other),
        ("in another order than in the split", moved),
    ):
        if items:
            raise UserError(
                f"{path}: {len(items)} of {len(gold)} items {what}, first item {items[0]}; "
                f"{remake(path)}"
            )
