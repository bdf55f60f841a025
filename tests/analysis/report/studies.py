"""Synthetic studies for the page: its tables from those of `tests.analysis.conftest`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from analysis.names import COLUMNS, Names
from analysis.report.inputs import Tables
from analysis.report.others import read_others
from analysis.tables.claims import ledger
from analysis.tables.paired_differences import paired_differences
from tests.analysis import conftest as made
from tests.analysis.conftest import MODEL, NAMES, NAMES_TABLE

BASE = 690_000  # numbers of the synthetic model
LARGE = ("large", "Large-7B", 7_000_000_000, 200)  # model, label, numbers, times the model's widths
OTHERS = Path(__file__).with_name("results_of_others")
FAILED = {"task": "world", "variant": "lora", "seed": 1}

Method = tuple[str, int, int, int, float, float]


def page_tables(found: made.Tables, *, fail: bool = True, resamples: int = 99) -> Tables:
    """The tables of the page; one cell of LoRA has failed unless the study has none."""
    runs = found.runs.assign(start_peak_memory_bytes=np.where(found.runs["samples"] > 0, 3e8, 0))
    if fail:
        gone = np.logical_and.reduce([runs[name] == value for name, value in FAILED.items()])
        runs.loc[gone, ["status", "reason", "score"]] = ["failed", "loss is not finite", np.nan]
    items = found.items.assign(set="")
    if fail:
        gone = np.logical_and.reduce([items[name] == value for name, value in FAILED.items()])
        items = items[~gone]
    rng = np.random.default_rng(0)
    paired = paired_differences(items, NAMES, rng, resamples)
    return Tables(
        runs=runs,
        per_item=items,
        losses=found.losses,
        paired=paired,
        claims=ledger(found.exact, paired, found.directions, found.gradients, NAMES),
        # a study of generation tasks alone counts no texts, and has the column all the same
        data=found.data.reindex(columns=list(dict.fromkeys([*found.data, "empty_texts"]))),
        counts=counts(runs),
        origins=origins(runs),
        rates=found.selected,
        sweep=found.sweep,
        others=read_others(sorted(OTHERS.glob("*.json"))),
    )


def counts(runs: pd.DataFrame) -> pd.DataFrame:
    """Closed forms on the study's model and on a large one, there at rank 96 too."""
    points = runs.drop_duplicates(["variant", "rank"])
    lines = []
    for model, label, base, times in ((MODEL, "Quickstart Llama", BASE, 1), LARGE):
        for row in points.itertuples():
            stored = base if row.variant == "full" else times * row.stored_parameters
            lines.append(_count((model, label, base), row.variant, row.rank, stored))
    lines.append(_count(LARGE[:3], "lora-sb", 96, 250_000_000))
    lines.append(_count(LARGE[:3], "lora-xs", 96, 2_000_000))
    return pd.DataFrame(lines)


def _count(model: tuple[str, str, int], variant: str, rank: int, stored: int) -> dict[str, object]:
    name, label, base = model
    trainable = base if variant == "full" else rank**2 * 30
    return {
        **{"model": name, "label": label, "variant": variant, "rank": rank},
        **{"base_parameters": base, "base_bytes": 2 * base, "trainable_parameters": trainable},
        **{"task_head_parameters": 0, "stored_parameters": stored, "stored_bytes": 4 * stored},
        "shared_bytes": 10**9 if variant == "lora-xs" and name != MODEL else 0,
        "optimizer_state_bytes": 8 * trainable,
        "training_bytes": 2 * base + 16 * trainable,
        "start_bytes": 2 * base + 10**8 if variant in ("lora-sb", "lora-xs") else 0,
    }


def origins(runs: pd.DataFrame) -> pd.DataFrame:
    """Folders, hashes and one machine; a failed cell has a folder alone."""
    cells = runs[["model", "task", "variant", "rank", "lr", "seed", "status"]]
    folders = [
        f"results/tiny/runs/{c.model}/{c.task}/{c.variant}/r{c.rank}/lr{c.lr}/seed{c.seed}"
        for c in cells.itertuples()
    ]
    packages = json.dumps({"torch": "2.13.0", "transformers": "5.23.0"})
    facts = {"commit": "80a6247d" * 5, "uncommitted_changes": False, "python": "3.11.7"}
    facts |= {"packages": packages, "system": "Linux", "processor": "P", "device": "cpu"}
    table = cells.assign(
        folder=folders,
        cell_hash="0123456789abcdef",
        predictions_sha256="f" * 64,
        threads=1,
        **facts,
    )
    failed = table["status"] != "ok"
    table[list(facts)] = table[list(facts)].mask(failed)
    table[["cell_hash", "predictions_sha256"]] = table[["cell_hash", "predictions_sha256"]].mask(
        failed
    )
    return table.drop(columns="status")


def many(number: int) -> tuple[made.Tables, Names]:
    """A study with so many methods, ranks counted apart; a third of them cost the same."""
    rng = np.random.default_rng(5)
    methods: list[Method] = list(made.METHODS)
    variants: list[str] = []
    while len(methods) < number:
        place = len(methods)
        variant, rank = f"method-{place // 2}", 4 if place % 2 else 16
        variants.append(variant)
        size = 6_144 if place % 3 == 0 else int(10 ** rng.uniform(2.5, 5.5))
        methods.append((variant, rank, size, 3 * size, rng.uniform(0.6, 0.9), 0.02))
    labels = pd.DataFrame(
        [("variant", name, f"Method {name[7:]}", "", "", "") for name in dict.fromkeys(variants)],
        columns=COLUMNS,
    )
    names = Names(pd.concat([NAMES_TABLE, labels], ignore_index=True))
    return made.make_tables(tasks=3, methods=_unique(methods)), names


def _unique(methods: Sequence[Method]) -> list[Method]:
    return list({method[:2]: method for method in methods}.values())
