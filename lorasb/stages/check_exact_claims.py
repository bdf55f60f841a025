"""Rule `check_exact_claims`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd

from lorasb.claims.ledger import exact_claims
from lorasb.claims.theorems import Check
from lorasb.files import write_csv
from lorasb.study.paths import TABLES

# Where matrices lie in memory decides in which order LAPACK adds, so that the last digits of a
# double differ from run to run; what counts as exact is a hundred times coarser than this.
DECIMALS = 12


def check_exact_claims(study: str) -> None:
    """`exact_claims.csv`: the paper's claims that need no run; the same for every study.

    Numbers are rounded to `DECIMALS` decimals, after it was seen what holds.
    """
    rows = [_row(check) for check in exact_claims()]
    write_csv(Path(TABLES.format(study=study)) / "exact_claims.csv", pd.DataFrame(rows))


def _row(check: Check) -> dict[str, Any]:
    row = asdict(check) | {"holds": check.holds}
    # a rounded zero has no sign
    numbers = {name: round(row[name], DECIMALS) + 0.0 for name in ("value", "low", "high")}
    return row | numbers
