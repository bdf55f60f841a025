"""Others' results as rows: of PEFT's `method_comparison`, and of lm-evaluation-harness.

Each is one run, of other code, data and settings: n is 1, and there is no interval.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd

from analysis import formats
from analysis.tidy import TableError, rows

COLUMNS = [
    *("source", "file", "version", "model", "method", "rank", "task", "metric", "score", "n"),
    *("items", "trainable_parameters", "stored_bytes", "peak_memory_bytes", "train_seconds"),
    *("seed", "reason"),
]
NUMBERS = ["score", "trainable_parameters", "stored_bytes", "peak_memory_bytes", "train_seconds"]
PEFT, HARNESS = "PEFT method_comparison", "lm-evaluation-harness"
# what the harness notes of a task besides `metric,filter`
FACTS = {"alias", "name", "sample_len", "sample_count"}

Row = dict[str, Any]


def read_others(paths: Iterable[str | Path]) -> pd.DataFrame:
    """One row a score of each JSON file, in their order; columns `COLUMNS`, empty if not known.

    Scores are fractions, as the files have them. A run that failed has a reason and no score.

    Raises
    ------
    TableError
        If a file is no JSON, or of neither kind.
    """
    found = [row | {"file": Path(path).name, "n": 1} for path in paths for row in _rows(path)]
    table = pd.DataFrame(found, columns=COLUMNS)
    return table.astype(dict.fromkeys(NUMBERS, float))


def printed(table: pd.DataFrame) -> pd.DataFrame:
    """The same as text: scores as the files have them."""
    return pd.DataFrame(
        {
            "Source": [f"{row.source}, {row.version}" for row in rows(table)],
            "File": table["file"],
            "Model": table["model"].map(_text),
            "Method": table["method"].map(_text),
            "Task": table["task"],
            "Metric": table["metric"],
            "Score": [
                _text(row.reason) if pd.isna(row.score) else f"{row.score:.4g}"
                for row in rows(table)
            ],
            "n": table["n"].astype(str),
            "Trainable": table["trainable_parameters"].map(formats.count),
            "Stored": [formats.quantity(value, "B") for value in table["stored_bytes"]],
            "Peak memory": [formats.quantity(value, "B") for value in table["peak_memory_bytes"]],
        }
    )


def _text(value: Any) -> str:
    return formats.MISSING if pd.isna(value) else str(value)


def _rows(path: str | Path) -> list[Row]:
    kinds = f"a result of {PEFT} or of {HARNESS} is needed"
    try:
        data = json.loads(Path(path).read_bytes())
    except OSError as error:
        raise TableError(f"{path}: cannot be read ({error.strerror})") from error
    except ValueError as error:
        raise TableError(f"{path}: no JSON ({error}); {kinds}") from error
    try:
        if "train_info" in data:
            return [_of_peft(data)]
        if "results" in data:
            return list(_of_harness(data))
    except (KeyError, TypeError, AttributeError, IndexError) as error:
        raise TableError(f"{path}: not as {kinds}: {error!r}") from error
    raise TableError(f"{path}: no key 'train_info' or 'results'; {kinds}")


def _of_peft(data: Row) -> Row:
    """One run; `metrics` ends with its test."""
    run, train = data["run_info"], data["train_info"]
    config, adapter = run["train_config"], run["peft_config"] or {}
    done = train["status"] == "success"
    return {
        "source": PEFT,
        "version": f"peft {data['meta_info']['package_info']['peft-version']}",
        "model": config["model_id"],
        "method": run["experiment_name"],
        "rank": adapter.get("r"),
        "task": ", ".join(data["meta_info"]["dataset_info"]),
        "metric": "test accuracy",
        "score": train["metrics"][-1]["test accuracy"] if done else None,
        "trainable_parameters": train.get("num_trainable_params"),
        "stored_bytes": train.get("file_size"),
        # by its name before there were other accelerators
        "peak_memory_bytes": train.get("accelerator_memory_max", train.get("cuda_memory_max")),
        "train_seconds": train.get("train_time"),
        "seed": config.get("seed"),
        "reason": None if done else f"{train['status']}: {run.get('error_msg') or 'no reason'}",
    }


def _of_harness(data: Row) -> Iterator[Row]:
    """A score a task, or group of tasks, and metric; the standard errors are left behind."""
    config = data.get("config", {})
    samples, shots = data.get("n-samples", {}), data.get("n-shot", {})
    for task, values in data["results"].items():
        for name, score in values.items():
            metric, _, kind = name.partition(",")
            if name not in FACTS and not metric.endswith("_stderr") and _is_number(score):
                yield {
                    "source": HARNESS,
                    "version": f"lm_eval {data.get('lm_eval_version', 'of unknown version')}",
                    "model": data.get("model_name", config.get("model")),
                    "method": _arguments(config.get("model_args")).get("peft"),
                    "task": task if task not in shots else f"{task}, {shots[task]}-shot",
                    "metric": metric if kind in {"", "none"} else f"{metric}, {kind}",
                    "score": score,
                    "items": samples.get(task, {}).get("effective"),
                    "seed": config.get("random_seed"),
                }


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _arguments(text: object) -> Row:
    """`pretrained=a,peft=b` as a mapping, which later versions write at once."""
    if isinstance(text, dict):
        return text
    pairs = [pair.partition("=") for pair in str(text or "").split(",")]
    return {name: value for name, _, value in pairs}
