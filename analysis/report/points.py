"""What is compared: one point a model, method and rank, with its scores, costs and runs."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from analysis import formats
from analysis.names import Names
from analysis.report import marks
from analysis.report.costs import ANY, MEASURED, Costs, counted, measured
from analysis.report.inputs import Tables
from analysis.tables.accuracy import accuracy
from analysis.tidy import MEAN, rows

SHORT = 10  # characters of a hash that tell it apart


@dataclass(frozen=True)
class Score:
    """Mean over seeds, its interval, and how that was found; as `stats.ScoreInterval`."""

    mean: float
    low: float
    high: float
    n: int
    interval: str


@dataclass(frozen=True)
class Run:
    """A cell, as a reader finds it again."""

    task: str
    seed: int
    rate: str
    score: float
    reason: str
    folder: str
    # of its settings and of its predictions, shortened
    hashes: str


@dataclass(frozen=True)
class Point:
    """A method at a rank; without a model and scores if only its closed forms are known."""

    key: str
    model: str
    variant: str
    rank: int
    label: str
    color: str
    path: str
    scores: dict[str, Score] = field(default_factory=dict)
    costs: Costs = field(default_factory=dict)
    runs: list[Run] = field(default_factory=list)

    @property
    def trains(self) -> bool:
        """Whether any of its numbers is trained."""
        return any(
            costs.get("trainable") for shape in self.costs.values() for costs in shape.values()
        )

    @property
    def folders(self) -> str:
        """The folders of the runs, what differs between them as `*`."""
        parts = [run.folder.split("/") for run in self.runs if run.folder]
        return "/".join(_common(names) for names in zip(*parts, strict=False))


def score_names(runs: pd.DataFrame, names: Names) -> dict[str, str]:
    """What a reader may rank by: the mean over tasks where there are several, then each task."""
    tasks = {task: names.task(task) for task in runs["task"].drop_duplicates()}
    return ({MEAN: f"Mean over {len(tasks)} tasks"} if len(tasks) > 1 else {}) | tasks


def label(row: Any, names: Names, *, several: bool) -> str:
    """What a reader sees for a row's variant and rank, with its model where there are several."""
    method = names.label(row.variant, row.rank)
    return f"{method}, {names.model(row.model)}" if several else method


def shape_names(tables: Tables, names: Names) -> dict[str, str]:
    """Whose costs a reader may look at: the study's own, then the models of the closed forms."""
    own = tables.runs["model"].unique()
    found = {MEASURED: f"{' and '.join(map(names.model, own))}, measured"}
    if tables.counts is not None:
        others = tables.counts[~tables.counts["model"].isin(own)]
        found |= {row.model: f"{row.label}, counted" for row in rows(others)}
    return found


def points(tables: Tables, names: Names) -> list[Point]:
    """All points in display order, those of closed forms alone last."""
    counts = counted(tables)
    looks = names.styles(tables.runs["variant"])
    several = tables.runs["model"].nunique() > 1
    found_costs, scores, runs = measured(tables), _scores(tables, names), _runs(tables)
    found = []
    own = tables.runs[["model", "variant", "rank"]].drop_duplicates()
    for row in rows(formats.by_variant(own, names, first=["model"])):
        key = (row.model, row.variant, row.rank)
        found.append(
            Point(
                key="-".join(map(str, key)),
                model=row.model,
                variant=row.variant,
                rank=row.rank,
                label=label(row, names, several=several),
                color=looks[row.variant].color,
                path=marks.path(looks[row.variant]),
                scores=scores.get(key, {}),
                costs=_by_shape(found_costs.get(key, {}), counts.get(key[1:], {})),
                runs=runs[key],
            )
        )
    known = {(point.variant, point.rank) for point in found}
    for variant, rank in sorted(counts.keys() - known):
        found.append(
            Point(
                key=f"{variant}-{rank}",
                model="",
                variant=variant,
                rank=rank,
                label=names.label(variant, rank),
                color=looks[variant].color,
                path=marks.path(looks[variant]),
                costs=_by_shape({}, counts[variant, rank]),
            )
        )
    return found


def _by_shape(
    by_score: dict[str, dict[str, float]], by_model: dict[str, dict[str, float]]
) -> Costs:
    held = by_model.get(MEASURED, {})
    own = {score: values | held for score, values in by_score.items()}
    others = {shape: {ANY: values} for shape, values in by_model.items() if shape != MEASURED}
    return others | ({MEASURED: own} if own else {})


def _scores(tables: Tables, names: Names) -> dict[tuple[str, str, int], dict[str, Score]]:
    found: dict[tuple[str, str, int], dict[str, Score]] = {}
    for row in rows(accuracy(tables.runs, names)):
        score = Score(row.mean, row.low, row.high, row.n, row.interval)
        found.setdefault((row.model, row.variant, row.rank), {})[row.task] = score
    return found


def _runs(tables: Tables) -> dict[tuple[str, str, int], list[Run]]:
    cell = ["model", "task", "variant", "rank", "seed"]
    runs = tables.runs
    if tables.origins is not None:
        known = tables.origins[[*cell, "folder", "cell_hash", "predictions_sha256"]]
        runs = runs.merge(known, how="left", on=cell)
    found: dict[tuple[str, str, int], list[Run]] = {}
    for row in runs.to_dict("records"):
        hashes = [row.get(name) for name in ("cell_hash", "predictions_sha256")]
        run = Run(
            task=row["task"],
            seed=row["seed"],
            rate=row["lr"],
            score=row["score"],
            reason="" if row["status"] == "ok" else str(row["reason"]),
            folder=row.get("folder", ""),
            hashes=" ".join(text[:SHORT] for text in hashes if isinstance(text, str)),
        )
        found.setdefault((row["model"], row["variant"], row["rank"]), []).append(run)
    return found


def _common(names: Iterable[Any]) -> str:
    different = list(dict.fromkeys(names))
    return str(different[0]) if len(different) == 1 else "*"
