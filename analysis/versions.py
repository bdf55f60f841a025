"""Libraries of other versions than the pinned ones, with which runs were made."""

from __future__ import annotations

import pandas as pd


def notes(runs: pd.DataFrame) -> list[str]:
    """What a table must say of them: none or one note.

    Tables released before have no column `other_versions`.
    """
    if "other_versions" not in runs:
        return []
    found = runs["other_versions"].replace("", pd.NA).dropna().value_counts(sort=False)
    if found.empty:
        return []
    others = "; ".join(f"{versions} in {number} of them" for versions, number in found.items())
    return [
        f"Of {len(runs)} runs some were made with other versions than the pinned ones: {others}."
    ]
