"""The study in one sentence, and its answer in three, from the runs and the pairs alone."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median

from analysis import formats
from analysis.names import Names
from analysis.report.inputs import Tables
from analysis.report.pairs import Pair, Pairs, against
from analysis.report.points import Point
from analysis.tables.paired_differences import SAME
from analysis.tidy import rows, succeeded

NAMED = 6  # more names than these are counted


@dataclass(frozen=True)
class Answer:
    """What a reader is told first; each a sentence or two."""

    study: str
    leads: str
    ties: str
    limits: str


def answer(
    tables: Tables, points: list[Point], pairs: Pairs, scores: dict[str, str], names: Names
) -> Answer:
    """The answer by the first score: the mean over tasks, or the only task."""
    score = next(iter(scores))
    scored = [place for place, point in enumerate(points) if score in point.scores]
    if not scored:
        return Answer(_study(tables, names), "No run has a score.", "", _limits(tables, [], names))
    best = max(scored, key=lambda place: points[place].scores[score].mean)
    found = pairs.get(score, [])
    others = against(found, best)
    tied = [_tie(points[place], pair) for place, pair in others.items() if not pair.verdict]
    return Answer(
        study=_study(tables, names),
        leads=_leads(points[best], score, scores[score]) + _by_task(points, scores),
        ties=_ties(points[best], tied, len(others)),
        limits=_limits(tables, found, names),
    )


def _study(tables: Tables, names: Names) -> str:
    runs = tables.runs
    models = _listed([names.model(name) for name in runs["model"].unique()])
    tasks = _listed([names.task(name) for name in runs["task"].unique()])
    methods = runs[["variant", "rank"]].drop_duplicates()
    seeds = _range(runs.groupby(["model", "task", "variant", "rank"])["seed"].nunique())
    done = len(succeeded(runs))
    all_of = f"all {done} runs have" if done == len(runs) else f"{done} of {len(runs)} runs have"
    return (
        f"{models} on {tasks}: {len(methods)} methods (ranks counted apart), {seeds} each; "
        f"{all_of} a score."
    )


def _by_task(points: list[Point], scores: dict[str, str]) -> str:
    """The highest mean on each task, where there are several."""
    said = []
    for score, name in list(scores.items())[1:]:
        best = max(
            (point for point in points if score in point.scores),
            key=lambda point: point.scores[score].mean,
            default=None,
        )
        if best:
            said.append(f"{name}: {best.label} ({formats.percent(best.scores[score].mean)})")
    return f" By task: {'; '.join(said)}." if said else ""


def _leads(best: Point, score: str, name: str) -> str:
    value = best.scores[score]
    bounds = formats.interval(value.low, value.high)
    spread = f", 95 % interval {bounds} over {value.n} seeds" if value.n > 1 else ", one run"
    where = "the mean over tasks" if name.startswith("Mean") else name
    mean = formats.percent(value.mean)
    return f"{_capital(best.label)} is highest by {where}: {mean}{spread}."


def _ties(best: Point, tied: list[str], others: int) -> str:
    if not others:
        return "Nothing was compared with it."
    if not tied:
        return f"None: each of the {others} others is told apart from {best.label}."
    return f"{_capital(_listed(tied))} cannot be told apart from it."


def _tie(point: Point, pair: Pair) -> str:
    return f"{point.label} ({SAME})" if pair.same else point.label


def _limits(tables: Tables, found: list[Pair], names: Names) -> str:
    models = _listed([names.model(name) for name in tables.runs["model"].unique()])
    said = [f"It says nothing of models other than {models}{_size(tables)} or of other tasks"]
    smallest = [pair.detectable for pair in found]
    if smallest:
        said.append(
            f"in half of the {len(found)} comparisons a true difference of "
            f"{formats.percent(median(smallest))} points is told apart with a probability of 80 % "
            "or more, in the others only a larger one"
        )
    edges = 0 if tables.rates is None else int((tables.rates["edge"] != "none").sum())
    if edges:
        rates = "1 learning rate is" if edges == 1 else f"{edges} learning rates are"
        said.append(f"{rates} at the edge of what was tried, where a method may do better beyond")
    failed = len(tables.runs) - len(succeeded(tables.runs))
    if failed:
        said.append("1 run failed" if failed == 1 else f"{failed} runs failed")
    return "; ".join(said) + "."


def _size(tables: Tables) -> str:
    if tables.counts is None:
        return ""
    own = tables.counts[tables.counts["model"].isin(tables.runs["model"])]
    sizes = sorted({row.base_parameters for row in rows(own)})
    return f" ({_listed([formats.quantity(size) for size in sizes])} numbers)" if sizes else ""


def _range(seeds: object) -> str:
    low, high = min(seeds), max(seeds)  # type: ignore[call-overload]
    number = str(low) if low == high else f"{low} to {high}"
    return f"{number} seed{'' if high == 1 else 's'}"


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _listed(names: list[str]) -> str:
    if len(names) > NAMED:
        names = [*names[: NAMED - 1], f"{len(names) - NAMED + 1} more"]
    return "; ".join(names)
