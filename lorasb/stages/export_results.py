"""Verb `export-results`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from math import sqrt
from pathlib import Path
from typing import Any

import pandas as pd

from lorasb.files import atomic_folder, refuse_filled, write_json
from lorasb.study.cells import COLUMNS
from lorasb.study.read import read_table, tables_of

# metric -> metric and filter, as lm-evaluation-harness calls them
NAMES = {
    "accuracy_strict": "exact_match,strict-match",
    "accuracy_flexible": "exact_match,flexible-extract",
    "accuracy": "acc,none",
    "choice": "acc,none",
    "choice_norm": "acc_norm,none",
    "matthews": "mcc,none",
}
SHARES = {
    "accuracy_strict",
    "accuracy_flexible",
    "accuracy",
    "choice",
    "choice_norm",
}  # of items that are right
OUTPUTS = {"generation": "generate_until"}  # kind of a task -> how the harness calls it
LOWER = "loss"  # the end of a metric's name of which less is better

Result = dict[str, Any]


def export_results(study: str, to: str) -> None:
    """Write the scores of each cell as a result file of lm-evaluation-harness (0.4), into a folder.

    From the study's tables, else the released ones. What was not recorded is left out; there are no
    samples. Cells without a score have no file.

    Raises
    ------
    UserError
        If there are no tables, or if the folder is there and not empty.
    """
    target = Path(to)
    refuse_filled(target, "to")
    tables = tables_of(study)
    scores = read_table(tables, "scores", [*COLUMNS, "metric", "value", "items"])
    origins = _origins(tables)
    with atomic_folder(target) as folder:
        for key, rows in scores.dropna(subset="value").groupby(list(COLUMNS), sort=False):
            cell = dict(zip(COLUMNS, map(_plain, key), strict=True))
            name = "-".join(map(str, cell.values()))
            write_json(folder / f"results_{name}.json", _result(cell, rows, origins.get(key, {})))


def _origins(tables: Path) -> dict[Any, dict[Any, Any]]:
    """What is known of the run of each cell that has results."""
    known = read_table(tables, "origins", [*COLUMNS, "commit", "config", "packages"])
    rows = known.dropna(subset="config").to_dict("records")
    return {tuple(row[name] for name in COLUMNS): row for row in rows}


def _result(cell: dict[str, Any], rows: pd.DataFrame, origin: dict[Any, Any]) -> Result:
    packages = json.loads(origin["packages"]) if origin else {}
    config = json.loads(origin["config"]) if origin else {}
    tasks = dict(_tasks(cell["task"], rows))
    task = config.get("task", {})
    found = {
        "results": {name: _scores(name, part) for name, part in tasks.items()},
        "group_subtasks": {cell["task"]: [name for name in tasks if name != cell["task"]]},
        "configs": {name: _config(name, task) for name in tasks},
        "versions": dict.fromkeys(tasks, task.get("score_version")),
        "n-shot": dict.fromkeys(tasks, 0),
        "higher_is_better": {
            name: {
                _name(metric).split(",")[0]: not metric.endswith(LOWER) for metric in part["metric"]
            }
            for name, part in tasks.items()
        },
        "n-samples": {
            name: dict.fromkeys(("original", "effective"), int(part["items"].max()))
            for name, part in tasks.items()
        },
        "config": {"model": "lorasb", "model_args": cell, "random_seed": cell["seed"]},
        "git_hash": origin.get("commit"),
        "transformers_version": packages.get("transformers"),
        "model_source": "lorasb",
        "model_name": cell["model"],
        "model_name_sanitized": cell["model"],
    }
    return {name: value for name, value in found.items() if value is not None}


def _tasks(task: str, rows: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    """The scores of the task, and of each of its evaluation sets."""
    sets = rows["set"] if "set" in rows else pd.Series("", rows.index)
    for name, part in rows.groupby(sets.fillna(""), sort=False):
        yield (f"{task}_{name}" if name else task), part


def _scores(name: str, rows: pd.DataFrame) -> Result:
    found: Result = {"alias": name, "name": name, "sample_len": int(rows["items"].max())}
    for metric, value, items in zip(rows["metric"], rows["value"], rows["items"], strict=True):
        key, _, kind = _name(metric).partition(",")
        found[f"{key},{kind}"] = value
        # that of a mean of zeros and ones; of other metrics it is not known here
        share = metric in SHARES and items > 1
        found[f"{key}_stderr,{kind}"] = sqrt(value * (1 - value) / (items - 1)) if share else "N/A"
    return found


def _config(name: str, task: Result) -> Result:
    """What the harness notes of a task, as far as it has a name for it."""
    output = OUTPUTS.get(task.get("kind", ""))
    known = {
        "task": name,
        "output_type": output,
        "num_fewshot": 0,
        "doc_to_text": task.get("prompt"),
    }
    return {key: value for key, value in known.items() if value is not None}


def _name(metric: str) -> str:
    return NAMES.get(metric, f"{metric},none")


def _plain(value: Any) -> Any:
    return value.item() if hasattr(value, "item") else value
