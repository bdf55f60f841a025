"""Rule `write_names`."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from lorasb.files import write_csv
from lorasb.study.names import COLUMNS, name_rows
from lorasb.study.paths import TABLES
from lorasb.study.study import Study


def write_names(study: str) -> None:
    """`names.csv`: the labels and the order of all that a study's tables and figures name."""
    table = pd.DataFrame(name_rows(Study.load(study)), columns=COLUMNS)
    write_csv(Path(TABLES.format(study=study)) / "names.csv", table)
