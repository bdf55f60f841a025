"""Verb `show`."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd

from lorasb.config.read import names, unknown
from lorasb.errors import UserError
from lorasb.files import check_readable
from lorasb.study.cells import COLUMNS
from lorasb.study.paths import RELEASED, TABLES, cell_coordinates
from lorasb.study.read import path_of_table, read_table, tables_of

SCREEN = 4  # more claims than these are a line each
NUMBERS = ["effect", "low", "high"]
CLAIM = ["source", "claim", "test", "model", "task", "rank", "verdict", *NUMBERS, "n", "unit"]


def show(what: str, /) -> None:
    """Print a study's table, where a cell's number comes from, or the rows of a claim.

    `what` is the name of a study, the folder of a cell or a file in it, or some words of a claim or
    of its source. Tables are those of `results/{study}`, else the released ones.

    Raises
    ------
    UserError
        If it is none of these, or if its tables are not there.
    """
    if what in names("studies"):
        text = _study(what)
    elif "/" in what:
        text = _cell(what)
    else:
        text = _claims(what)
    sys.stdout.write(text + "\n")


def _study(study: str) -> str:
    path = tables_of(study) / "accuracy.md"
    check_readable(path)
    return f"{path}\n\n{path.read_text(encoding='utf-8').strip()}"


def _cell(path: str) -> str:
    found = cell_coordinates(path)
    tables = tables_of(found["study"])
    runs = read_table(tables, "runs", COLUMNS)
    run = _rows(runs, found)
    if run.empty:
        raise UserError(f"{path}: no such cell in {path_of_table(tables, 'runs')}")
    row = run.iloc[0]
    facts = {
        **{name: row[name] for name in COLUMNS},
        "status": row["status"] if pd.isna(row["reason"]) else f"{row['status']}: {row['reason']}",
        f"score ({row['metric']})": row["score"],
        "tables": tables,
        **_data(tables, found),
        **_origin(tables, found),
    }
    width = max(map(len, facts))
    return "\n".join(f"{name:<{width}}  {value}" for name, value in facts.items())


def _rows(table: pd.DataFrame, found: dict[str, str]) -> pd.DataFrame:
    """The rows whose columns have the values that a path names."""
    known = [name for name in found if name in table]
    return table[(table[known].astype(str) == [found[name] for name in known]).all(axis=1)]


def _origin(tables: Path, found: dict[str, str]) -> dict[str, Any]:
    rows = _rows(read_table(tables, "origins", [*COLUMNS, "config", "packages"]), found)
    facts = {str(name): value for name, value in rows.iloc[0].items() if name not in found}
    if pd.isna(facts["config"]):  # it failed
        return {"folder": facts["folder"]}
    packages = json.loads(facts["packages"]).items()
    return facts | {
        "packages": ", ".join(" ".join(pair) for pair in packages),
        "config": "\n" + json.dumps(json.loads(facts["config"]), indent=2),
    }


def _data(tables: Path, found: dict[str, str]) -> dict[str, Any]:
    rows = _rows(read_table(tables, "data"), found)
    if "sha256" not in rows:
        return {}
    whole = rows[rows["set"].isna()]
    return {f"sha256 of {split}": text for split, text in whole[["split", "sha256"]].to_numpy()}


def _claims(words: str) -> str:
    found = pd.concat(list(_ledgers()) or [pd.DataFrame(columns=["study", *CLAIM])])
    text = found["source"] + ": " + found["claim"]
    rows = found[text.str.contains(re.escape(words), case=False)]
    if rows.empty:
        raise UserError(
            f"{unknown('study', words, names('studies'))}; nor is it the folder of a cell, or words"
            " of a claim or its source, such as 'Theorem 5'"
        )
    claims = [part for _, part in rows.groupby("claim", sort=False)]
    if len(claims) > SCREEN:
        return "\n\n".join([*map(_summary, claims), "The rows of one: with more of its words."])
    return "\n\n".join(f"{_summary(part)}\n\n{_tests(part)}" for part in claims)


def _ledgers() -> Iterator[pd.DataFrame]:
    """The claims of each study that has tables."""
    for study in names("studies"):
        folders = [Path(pattern.format(study=study)) for pattern in (TABLES, RELEASED)]
        with_claims = (folder for folder in folders if path_of_table(folder, "claims").exists())
        folder = next(with_claims, None)
        if folder is not None:
            yield read_table(folder, "claims", CLAIM).assign(study=study)


def _summary(rows: pd.DataFrame) -> str:
    """A claim, and how often each verdict came out."""
    counts = rows["verdict"].value_counts()
    said = ", ".join(f"{name}: {number}" for name, number in counts.items())
    return f"{rows['source'].iloc[0]}: {rows['claim'].iloc[0]}\n{said}"


def _tests(rows: pd.DataFrame) -> str:
    """The rows of one claim as a table."""
    scale = rows["unit"].map({"points": 100}).fillna(1)
    shown = rows.assign(**{name: scale * rows[name] for name in NUMBERS})[["study", *CLAIM[2:]]]
    shown = shown.astype({"rank": "Int64"}).astype(object).dropna(axis="columns", how="all")
    return shown.to_string(index=False, na_rep="", float_format="{:.3g}".format)
