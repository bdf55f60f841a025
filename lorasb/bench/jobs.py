"""Where the seconds of a run went, by what Snakemake keeps of each job."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from lorasb.errors import UserError
from lorasb.files import read_record

KEPT = Path(".snakemake/metadata")  # a record a file that a job made


def jobs_of(study: str) -> pd.DataFrame:
    """A row a job of a study that ran in this folder: rule, began, ended, in seconds.

    Raises
    ------
    UserError
        If there is none.
    """
    found = {}
    for path in KEPT.rglob("*"):
        if path.is_file():
            job = read_record(path, "rule", "log", "starttime", "endtime")
            if study in (part for log in job["log"] for part in Path(log).with_suffix("").parts):
                found[job["rule"], *job["log"]] = (job["rule"], job["starttime"], job["endtime"])
    if not found:
        raise UserError(
            f"{KEPT}: no job of {study}; run `snakemake --cores all --config study={study}` first"
        )
    return pd.DataFrame(found.values(), columns=["rule", "began", "ended"])


def by_rule(jobs: pd.DataFrame) -> pd.DataFrame:
    """Number of each rule's jobs, their seconds, and their share of those of all."""
    seconds = (jobs["ended"] - jobs["began"]).groupby(jobs["rule"])
    table = pd.DataFrame({"jobs": seconds.size(), "seconds": seconds.sum(), "each": seconds.mean()})
    table["share"] = table["seconds"] / table["seconds"].sum()
    return table.sort_values("seconds", ascending=False)
