"""What was counted when data was prepared."""

from __future__ import annotations

from typing import Any

import pandas as pd

from lorasb.evaluation.score import WHOLE
from lorasb.files import read_record
from lorasb.study.cells import Cell
from lorasb.study.paths import DATA
from lorasb.tasks.task import SPLITS

# what a manifest may count of a split or evaluation set
COUNTS = [
    *("rows", "truncated", "dropped_overlap", "dropped_empty_answers", "dropped_long_prompts"),
    *("dropped_unlabelled", "dropped_blank"),
    *("overlap_exact", "overlap_normalised", "overlap_left"),
    *("empty_texts", "empty_prompts", "duplicates", "unknown_tokens"),
]


def data_rows(cells: list[Cell]) -> pd.DataFrame:
    """One row a model, task, split and evaluation set: rows, tokens, what was cut, dropped, empty.

    Where `set` is empty the row is of the whole split. What a manifest does not count is empty.
    """
    found = []
    for model, task, folder in dict.fromkeys((c.model, c.task, c.path(DATA)) for c in cells):
        splits = read_record(folder / "manifest.json", "splits")["splits"]
        for split in SPLITS:
            names = {"model": model, "task": task, "split": split}
            parts = {WHOLE: splits[split], **splits[split].get("sets", {})}
            found += [{**names, "set": part, **_data_row(one)} for part, one in parts.items()]
    table = pd.DataFrame(found)
    whole = [*COUNTS, "tokens_total", "tokens_max"]
    return table.astype(dict.fromkeys(whole, "Int64"))


def _data_row(facts: dict[str, Any]) -> dict[str, Any]:
    tokens = facts.get("tokens", {})
    counts = {name: facts.get(name) for name in COUNTS}
    counts["sha256"] = facts.get("sha256")
    return counts | {f"tokens_{name}": tokens.get(name) for name in ("total", "median", "max")}
