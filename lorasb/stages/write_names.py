"""Rule `write_names`."""

from __future__ import annotations

from pathlib import Path

from lorasb.study.paths import TABLES
from lorasb.study.study import Study
from lorasb.tidy.names import names
from lorasb.tidy.tables import write_table


def write_names(study: str) -> None:
    """`names.csv`: the labels and the order of all that a study's tables and figures name."""
    write_table(names(Study.load(study)), Path(TABLES.format(study=study)) / "names.csv")
