"""Rule `tabulate_counts`."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from lorasb.errors import UserError
from lorasb.files import write_csv
from lorasb.study.paths import TABLES
from lorasb.study.study import Study
from lorasb.tidy.counts import COLUMNS, count_rows

POINT = ["model", "variant", "rank"]


def tabulate_counts(study: str, beside: str | None = None) -> None:
    """`counts.csv`: closed forms of the study's variants; `beside` is a CSV of further points.

    Its columns model, variant and rank are read; counts need the shapes of a model and no weights.
    """
    found = Study.load(study)
    others = [] if beside is None else _points(beside)
    table = pd.DataFrame(count_rows(found, others), columns=COLUMNS)
    write_csv(Path(TABLES.format(study=study)) / "counts.csv", table)


def _points(path: str) -> list[tuple[str, str, int]]:
    try:
        table = pd.read_csv(path, usecols=POINT)
    except (FileNotFoundError, ValueError) as error:
        raise UserError(f"{path}: a CSV with the columns {', '.join(POINT)}: {error}") from None
    return [(model, variant, int(rank)) for model, variant, rank in table[POINT].to_numpy()]
