"""Verb `count`."""

from __future__ import annotations

import re
import sys
from json import dumps
from typing import Any

import pandas as pd

from lorasb.errors import UserError
from lorasb.methods.counts import count_report
from lorasb.methods.registry import Variant, make_variant
from lorasb.models.spec import ModelSpec
from lorasb.tidy.counts import count_row, served_bytes

UNITS = {"T": 10**12, "G": 10**9, "M": 10**6, "k": 10**3, "": 1}
SIZE = re.compile(r"([0-9]+(?:\.[0-9]+)?) ?([TGMk]?)B")
Row = dict[str, Any]


def count(
    model: str,
    method: str,
    rank: str = "0",
    adapters: int = 1,
    memory: str | None = None,
    *,
    json: bool = False,
) -> None:
    """Print the closed-form counts of variants on a model as a table; no weights are needed.

    `method` and `rank` are names and numbers with commas between them; each method has each rank
    that fits it, one without a rank has a line. Lines are sorted by what a server holds that keeps
    `adapters` of them beside the base. Above `memory`, such as `24GB`, is what such a server or
    training needs more for; training takes its activations besides. As JSON there is a list of all
    counts, or one object for one method and rank.
    """
    variants = [make_variant(name) for name in method.split(",")]
    ranks = [_number(text) for text in rank.split(",")]
    points = [
        (variant, number)
        for variant in variants
        for number in (ranks if variant.method.has_rank else [0])
    ]
    if json:
        text = dumps(_reports(model, points), indent=2)
    else:
        limit = None if memory is None else _size(memory)
        rows = [count_row(model, variant, number) for variant, number in points]
        text = _table(rows, adapters, limit)
    sys.stdout.write(text + "\n")


def _reports(model: str, points: list[tuple[Variant, int]]) -> Row | list[Row]:
    spec = ModelSpec.load(model)
    found: list[Row] = [
        {"model": model, "method": variant.name} | count_report(spec, variant.method.count, rank)
        for variant, rank in points
    ]
    return found[0] if len(found) == 1 else found


def _table(rows: list[Row], adapters: int, limit: int | None) -> str:
    served = [(served_bytes(row, adapters), row) for row in rows]
    served.sort(key=lambda pair: pair[0])
    whose = f"{adapters:,} adapters" if adapters > 1 else "adapter"
    lines = [
        {
            "method": row["variant"],
            "rank": row["rank"] or "-",
            "trained": f"{row['trainable_parameters']:,}",
            "stored each": _bytes(row["stored_bytes"]),
            "shared": _bytes(row["shared_bytes"]),
            "training, at least": _bytes(row["training_bytes"]),
            f"{whose} and base": _bytes(total),
        }
        | ({} if limit is None else {"memory": _room(max(total, row["training_bytes"]), limit)})
        for total, row in served
    ]
    base = _bytes(rows[0]["base_bytes"])
    head = f"{rows[0]['label']}, base {base}; stored bytes include the task head"
    return f"{head}\n\n{pd.DataFrame(lines).to_string(index=False)}"


def _room(need: int, limit: int) -> str:
    return "fits" if need <= limit else f"above {_bytes(limit)}"


def _bytes(value: int) -> str:
    unit, size = next((unit, size) for unit, size in UNITS.items() if value >= size or size == 1)
    return f"{value / size:.3g} {unit}B"


def _size(text: str) -> int:
    found = SIZE.fullmatch(text)
    if found is None:
        raise UserError(f"--memory {text}: a number and its unit, such as 24GB")
    return int(float(found[1]) * UNITS[found[2]])


def _number(text: str) -> int:
    if not re.fullmatch("[0-9]+", text):
        raise UserError(f"--rank {text}: whole numbers with commas between them, such as 32,96")
    return int(text)
