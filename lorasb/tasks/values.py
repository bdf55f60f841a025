"""What a row's columns may hold, and rows that a task leaves out."""

from __future__ import annotations

import math
from reprlib import repr as short

from lorasb.errors import UserError
from lorasb.tasks.task import LabelledTask, Row, Task

NO_VALUE = "has no value"


def left_out(task: Task, row: Row) -> str | None:
    """Why the task's `drop_rows` leaves a row out: `unlabelled`, `blank`, or not at all.

    A row without a label has no value there, or the class -1, as public data sets mark it.
    """
    if "unlabelled" in task.drop_rows and any(
        _is_missing(row[name]) or (row[name] == -1 and task.kind == "classification")
        for name in task.gold
    ):
        return "unlabelled"
    if "blank" in task.drop_rows and any(_is_blank(row[name]) for name in task.inputs):
        return "blank"
    return None


def check_values(task: Task, rows: list[Row], where: str) -> None:
    """Refuse the first row that holds something else than texts and labels of the task.

    Texts are texts; templates also take numbers.

    Raises
    ------
    UserError
        It begins with `where` and has the row's number, the column and what would be right.
    """
    for row in rows:
        if left_out(task, row):
            continue
        for name in task.columns:
            problem = _problem(task, name, row[name])
            if problem:
                raise UserError(f"{where}, row {row['item']}: '{name}' {problem}")


def _problem(task: Task, name: str, value: object) -> str | None:
    if _is_missing(value) and not (isinstance(task, LabelledTask) and name in task.gold):
        return NO_VALUE
    if not isinstance(task, LabelledTask):
        known = isinstance(value, str | int | float)
        return None if known else f"is {short(value)}, neither a text nor a number"
    if name in task.text:
        return None if isinstance(value, str) else f"is {short(value)}, not a text"
    return _label_problem(task, value)


def _label_problem(task: LabelledTask, label: object) -> str | None:
    if label is None:
        return f"{NO_VALUE}; 'drop_rows: [unlabelled]' of the task leaves such rows out"
    if task.kind == "regression":
        finite = isinstance(label, int | float) and math.isfinite(label)
        return None if finite else f"is {short(label)}, not a finite number"
    if isinstance(label, int) and 0 <= label < task.num_labels:
        return None
    why = "; classes are numbers, give each name one" if isinstance(label, str) else ""
    if label == -1:
        why = "; hidden labels are -1, and 'drop_rows: [unlabelled]' of the task leaves them out"
    return f"is {short(label)}, not a class from 0 to {task.num_labels - 1}{why}"


def _is_missing(value: object) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))


def _is_blank(value: object) -> bool:
    return value is None or not str(value).strip()
