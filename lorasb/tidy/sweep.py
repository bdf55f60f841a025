"""The sweep's scores, and the learning rates they choose."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from lorasb.errors import UserError
from lorasb.records import Inputs, sha256
from lorasb.study.cells import COLUMNS, Point
from lorasb.study.paths import RELEASED
from lorasb.study.read import path_of_table, read_table
from lorasb.study.study import Study
from lorasb.tasks.checks import LOWER_IS_BETTER
from lorasb.tidy.released import joined
from lorasb.tidy.tables import of_cells, whole_scores

POINT = list(Point._fields)
OUTCOME = ["metric", "score", "status"]


def sweep_rows(study: Study, scores: pd.DataFrame) -> pd.DataFrame:
    """One row a cell of the sweep: its score on the selection split, or that it failed."""
    rows, found = [], whole_scores(scores)
    for cell in study.scored_cells("selection"):
        metric = study.tasks[cell.task].selection_metric
        score = found.get((*cell.columns.values(), metric))
        status = "ok" if score is not None else "failed"
        rows.append({**cell.columns, "metric": metric, "score": score, "status": status})
    return pd.DataFrame(rows)


def with_kept(study: Study, sweep: pd.DataFrame, inputs: Inputs) -> pd.DataFrame:
    """A sweep's rows, and those that the study's release has of the points that it left out.

    Of those alone whose committed rate came of the released rows, by its score.
    """
    folder = Path(RELEASED.format(study=study.name))
    path = path_of_table(folder, "sweep")
    if not path.exists():
        return sweep
    inputs.note(f"the released {path}", sha256(path))
    released = read_table(folder, "sweep", [*COLUMNS, *OUTCOME])
    came_of = {
        (*(row[name] for name in POINT), row["lr"], f"{row['score']:.4f}")
        for row in select_rates(released).to_dict("records")
    }
    left = set(study.points_to_sweep)
    kept = {
        point
        for point, row in study.committed_rates.items()
        if point not in left and (*point, row["lr"], row["score"]) in came_of
    }
    rows = of_cells((cell for cell in study.sweep_cells if cell.point in kept), released)
    return joined(study.sweep_cells, sweep, rows)


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
        lower = set(group["metric"]) <= LOWER_IS_BETTER
        best = str(usable["mean"].idxmin() if lower else usable["mean"].idxmax())
        edge = {means.index[0]: "low", means.index[-1]: "high"}.get(best, "none")
        names = dict(zip(POINT, key, strict=True))
        found = {"lr": best, "score": usable["mean"][best], "seeds": usable["size"][best]}
        rows.append({**names, **found, "edge": edge})
    return pd.DataFrame(rows)


def selected_table(sweep: pd.DataFrame, study: Study) -> pd.DataFrame:
    """The rates that the sweep chose, and the committed ones of the points that it left out.

    In the study's order; `settings` and `tried` say what a choice depends on (`Study.grid`).
    """
    chosen = select_rates(sweep)
    grids = [study.grid(Point(*point)) for point in chosen[POINT].itertuples(index=False)]
    for name in ("settings", "tried"):
        chosen[name] = [grid[name] for grid in grids]
    swept, committed = study.points_to_sweep, study.committed_rates
    left_out = [row for point, row in committed.items() if point not in swept]
    kept = pd.DataFrame(left_out, columns=chosen.columns).astype(chosen.dtypes.to_dict())
    table = pd.concat([kept, chosen], ignore_index=True)
    places = [study.points.index(Point(*point)) for point in table[POINT].itertuples(index=False)]
    return table.iloc[sorted(table.index, key=places.__getitem__)]
