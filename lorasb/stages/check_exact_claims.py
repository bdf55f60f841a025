"""Rule `check_exact_claims`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import pandas as pd

from lorasb.claims.ledger import exact_claims
from lorasb.files import write_csv
from lorasb.study.paths import TABLES


def check_exact_claims(study: str) -> None:
    """`exact_claims.csv`: the paper's claims that need no run; the same for every study."""
    rows = [asdict(check) | {"holds": check.holds} for check in exact_claims()]
    write_csv(Path(TABLES.format(study=study)) / "exact_claims.csv", pd.DataFrame(rows))
