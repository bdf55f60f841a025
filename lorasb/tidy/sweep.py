"""The sweep's scores, and the learning rates they choose."""

from __future__ import annotations

import pandas as pd

from lorasb.errors import UserError
from lorasb.study.cells import Point
from lorasb.study.hashes import point_hash
from lorasb.study.study import Study
from lorasb.tidy.tables import primary_score

POINT = list(Point._fields)


def sweep_rows(study: Study, scores: pd.DataFrame) -> pd.DataFrame:
    """One row a cell of the sweep: its score on the selection split, or that it failed."""
    rows = []
    for cell in study.sweep_cells:
        metric = study.tasks[cell.task].primary
        score = primary_score(cell, metric, scores)
        status = "ok" if score is not None else "failed"
        rows.append({**cell.columns, "metric": metric, "score": score, "status": status})
    return pd.DataFrame(rows)


def select_rates(sweep: pd.DataFrame) -> pd.DataFrame:
    """The learning rate with the best mean score of each model, task, variant and rank.

    A rate at which a cell failed cannot be chosen; of equal scores the lower rate wins. `edge` says
    whether the chosen rate is the lowest or highest that was tried.
    """
    rows = []
    for key, group in sweep.groupby(POINT, sort=False):
        means = group.groupby("lr")["score"].agg(["mean", "size", "count"])
        means = means.loc[sorted(means.index, key=float)]
        usable = means[means["size"] == means["count"]]
        if usable.empty:
            raise UserError(f"sweep: every learning rate failed for {', '.join(map(str, key))}")
        best = str(usable["mean"].idxmax())
        edge = {means.index[0]: "low", means.index[-1]: "high"}.get(best, "none")
        names = dict(zip(POINT, key, strict=True))
        found = {"lr": best, "score": usable["mean"][best], "seeds": usable["size"][best]}
        rows.append({**names, **found, "edge": edge})
    return pd.DataFrame(rows)


def with_settings(selected: pd.DataFrame, study: Study) -> pd.DataFrame:
    """The table with a hash of what else the scores depend on."""
    points = selected[POINT].itertuples(index=False)
    return selected.assign(settings=[point_hash(study, Point(*point)) for point in points])
