"""Rule `write_names`."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from lorasb.study.names import COLUMNS, names
from lorasb.study.paths import TABLES
from lorasb.study.study import Study
from lorasb.tidy.tables import write_table


def write_names(study: str) -> None:
    """`names.csv`: the labels and the order of all that a study's tables and figures name."""
    table = pd.DataFrame(names(Study.load(study)), columns=COLUMNS)
    write_table(table, Path(TABLES.format(study=study)) / "names.csv")
