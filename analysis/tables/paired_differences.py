"""Which methods differ: paired differences on the same test items and seeds."""

from collections.abc import Iterator
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from analysis import edges, formats, stats, versions
from analysis.names import Names
from analysis.stats.every_pair import Draws, difference, draw_tasks
from analysis.stats.runs import Point
from analysis.tidy import MEAN, POINT, groups, predicted, read, rows

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

FULL, LORA = "full", "lora"  # what every method is compared with
UNKNOWN = "cannot be told"
# permutations for each comparison of a family: where the adjusted p-value is near 0.05 some fifty
# go as far, so that chance decides few verdicts; the least adjusted one is 0.001
PERMUTATIONS = 1000
MARGIN = f"{100 * stats.MARGIN:g} point"
SAME = f"the same within {MARGIN}"
ITEMS = [*POINT, "metric", "seed", "item", "prediction", "label", "correct"]

NOTES = [
    "A - B: score of A minus score of B, in points (score x 100), mean over their common seeds.",
    "Interval: for other test items and other seeds. p: paired permutation test on these items and"
    " these trained models; Holm p: adjusted for all comparisons of the task.",
    "A is called higher or lower where Holm p is below 0.05 and the interval leaves out zero;"
    f" {SAME} where TOST's p, not adjusted, is below 0.05.",
    "Found with 80 %: the smallest true difference that an interval without zero, of one comparison"
    " in this design, finds with that probability.",
]
OF_MEAN = (
    "Mean over tasks: p is Student's t, for other items and other seeds. The second interval is for"
    " other tasks too, a hierarchical bootstrap over tasks, seeds and items."
)

COLUMNS = [
    *("model", "task", "set", "metric", "variant_a", "rank_a", "variant_b", "rank_b"),
    *("value", "low", "high", "low_tasks", "high_tasks", "p_value", "p_holm"),
    *("detectable", "p_equivalent", "items", "seeds"),
]


def pairs(scores: dict[Point, float], names: Names) -> Iterator[tuple[Point, Point]]:
    """What is compared on one task: (a, b) for the difference a - b, each pair once.

    All variants of one rank with each other; each point with a rank with full fine-tuning; each
    point of another variant with the best rank of LoRA. What LoRA's best rank is, the test scores
    say, which favours LoRA.

    Parameters
    ----------
    scores
        Mean score of each variant and rank.
    """
    places = {name: place for place, name in enumerate(names.ordered(name for name, _ in scores))}
    ranked = sorted(
        (point for point in scores if point[1]), key=lambda point: (point[1], places[point[0]])
    )
    found = [(b, a) for a, b in combinations(ranked, 2) if a[1] == b[1]]
    if (FULL, 0) in scores:
        found += [(point, (FULL, 0)) for point in ranked]
    lora = [point for point in ranked if point[0] == LORA]
    if lora:
        best = max(lora, key=scores.__getitem__)
        found += [(point, best) for point in ranked if point[0] != LORA]
    seen: set[frozenset[Point]] = set()
    for a, b in found:
        if frozenset((a, b)) not in seen:
            seen.add(frozenset((a, b)))
            yield a, b


def paired_differences(
    items: pd.DataFrame, names: Names, rng: np.random.Generator, resamples: int = 9999
) -> pd.DataFrame:
    """One row a comparison; see `pairs` and `analysis.stats.paired_differences`.

    Evaluation sets of a task are compared one by one. Task `mean` is the mean over the tasks of a
    model that has several, with an interval for other tasks (`low_tasks`, `high_tasks`). `p_holm`
    is adjusted within a model and task. `verdict` is `higher` or `lower` (of a) where `p_holm` <
    0.05 and the interval excludes 0, else `cannot be told`.
    """
    items = predicted(items)
    found = []
    for (model, task, metric), whole in groups(items, ["model", "task", "metric"]):
        sets = whole["set"].nunique()
        for name, part in groups(whole, "set"):
            keys = {"model": model, "task": task, "set": name, "metric": metric}
            rows = comparisons(part, metric, names, rng, resamples, sets=sets)
            found += [keys | row for row in rows]
    for model, whole in groups(items, "model"):
        if whole["task"].nunique() > 1:
            keys = {"model": model, "task": MEAN, "set": "", "metric": ""}
            found += [keys | row for row in mean_comparisons(whole, names, rng)]
    table = pd.DataFrame(found, columns=COLUMNS)
    for _, family in groups(table, ["model", "task"]):
        table.loc[family.index, "p_holm"] = stats.holm(family["p_value"].to_numpy())
    return table.rename(columns={"value": "difference"}).assign(verdict=verdicts(table))


def comparisons(
    items: pd.DataFrame,
    metric: str,
    names: Names,
    rng: np.random.Generator,
    resamples: int,
    *,
    sets: int,
) -> Iterator[dict[str, Any]]:
    """The compared pairs of one task, or of one of its `sets`, with `analysis.stats.Difference`."""
    scores = {
        point: seed_mean(group, metric) for point, group in groups(items, ["variant", "rank"])
    }
    compared = list(pairs(scores, names))
    permutations = PERMUTATIONS * sets * len(compared)
    found = stats.paired_differences(
        items, metric, compared, rng, resamples, permutations=permutations
    )
    for (a, b), one in zip(compared, found, strict=True):
        yield _sides(a, b) | vars(one)


def mean_comparisons(
    items: pd.DataFrame, names: Names, rng: np.random.Generator
) -> Iterator[dict[str, Any]]:
    """The compared pairs of one model on the mean over its tasks, with `stats.Resampled`."""
    points = list(dict(groups(items, ["variant", "rank"])))
    draws = Draws.over_tasks(list(draw_tasks(items, points, rng).values()))
    scores = pd.Series(list(pd.DataFrame(draws.observed.mean(axis=0)).mean(axis=1)), points)
    number = len(items[["task", "set", "item"]].drop_duplicates())
    for a, b in pairs(dict(scores.dropna()), names):
        found = difference(draws, points.index(a), points.index(b))
        low, high = found.interval(rng)
        low_tasks, high_tasks = found.interval(rng, other_tasks=True)
        yield _sides(a, b) | {
            **{"value": found.value, "low": low, "high": high},
            **{"low_tasks": low_tasks, "high_tasks": high_tasks, "p_value": found.p_value},
            **{"detectable": found.detectable(), "p_equivalent": found.p_equivalent},
            **{"items": number, "seeds": found.per_seed.size},
        }


def _sides(a: Point, b: Point) -> dict[str, Any]:
    return {"variant_a": a[0], "rank_a": a[1], "variant_b": b[0], "rank_b": b[1]}


def seed_mean(items: pd.DataFrame, metric: str) -> float:
    """The metric of each seed's items, averaged over seeds."""
    by_seed = [group for _, group in items.groupby("seed")]
    return float(np.mean([stats.item_score(metric, group) for group in by_seed]))


def verdicts(table: pd.DataFrame) -> list[str]:
    """What may be said about each row."""
    sure = (table["p_holm"] < stats.LEVEL) & ((table["low"] > 0) | (table["high"] < 0))
    signs = np.where(table["value"] > 0, "higher", "lower")
    return [str(sign) if known else UNKNOWN for sign, known in zip(signs, sure, strict=True)]


def printed(table: pd.DataFrame, names: Names) -> pd.DataFrame:
    """The same as text, differences in points."""
    text = pd.DataFrame(
        {
            "Model": table["model"].map(names.model),
            "Task": [_task(row, names) for row in rows(table)],
            "A": list(map(names.label, table["variant_a"], table["rank_a"])),
            "B": list(map(names.label, table["variant_b"], table["rank_b"])),
            "A - B": table["difference"].map(formats.percent),
            "95 % interval": list(map(formats.interval, table["low"], table["high"])),
            "for other tasks": list(map(formats.interval, table["low_tasks"], table["high_tasks"])),
            "p": table["p_value"].map(formats.p_value),
            "Holm p": table["p_holm"].map(formats.p_value),
            "Found with 80 %": table["detectable"].map(formats.percent),
            "Items": table["items"].map(formats.count),
            "Seeds": table["seeds"].astype(str),
            "A is": [_verdict(row) for row in rows(table)],
        }
    )
    if MEAN not in set(table["task"]):
        text = text.drop(columns="for other tasks")
    return formats.without_single_model(text)


def notes(table: pd.DataFrame) -> list[str]:
    """How to read a row."""
    return [*NOTES, *([OF_MEAN] if MEAN in set(table["task"]) else [])]


def _task(row: Any, names: Names) -> str:
    if row.task == MEAN:
        return "Mean over tasks"
    return f"{names.task(row.task)}, {names.set(row.set)}" if row.set else names.task(row.task)


def _verdict(row: Any) -> str:
    if not row.p_equivalent < stats.LEVEL:
        return str(row.verdict)
    if row.verdict == UNKNOWN:
        return SAME
    return f"{row.verdict}, by less than {MARGIN}"


if "snakemake" in globals():
    names, rng = Names.read(snakemake.input.names), np.random.default_rng(0)
    table = paired_differences(read(snakemake.input.per_item, needs=ITEMS), names, rng)
    below = notes(table) + edges.notes(snakemake.params["edges"], names)
    below += versions.notes(read(snakemake.input.runs, needs=["variant"]))
    formats.write(table, printed(table, names), below, **dict(snakemake.output.items()))
