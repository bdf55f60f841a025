"""The ledger of claims: a line a claim, with a way into its rows."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from analysis.names import Names
from analysis.tables.claims import FAILS, HOLDS, OPEN, printed
from analysis.tidy import groups

EXACT = "holds exactly"


@dataclass(frozen=True)
class Claim:
    """A claim, how often it holds, and its rows as text."""

    text: str
    summary: str
    rows: pd.DataFrame


def claims(table: pd.DataFrame, names: Names) -> list[Claim]:
    """Claims in the order of the ledger."""
    text = printed(table, names)
    return [
        Claim(claim, summary(part["verdict"]), text.loc[part.index].drop(columns="Claim"))
        for claim, part in groups(table, "claim")
    ]


def summary(verdicts: pd.Series) -> str:
    """`holds in 5 of 6, cannot be told at this scale in 1`."""
    counts = verdicts.replace(EXACT, HOLDS).value_counts()
    said = [f"{HOLDS} in {counts.get(HOLDS, 0)} of {len(verdicts)}"]
    said += [f"{name} in {counts[name]}" for name in (FAILS, OPEN) if name in counts]
    return ", ".join(said)
