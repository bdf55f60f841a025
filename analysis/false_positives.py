"""How often the paired test calls one method different from itself: an A/A test on known items.

`python -m analysis.false_positives FOLDER...` reads `items.parquet` and `names.csv` of folders of
tables, and prints a table for each. Two labels are given to disjoint halves of one method's seeds,
at random, and test items are drawn anew, with replacement: what is called different then is a
false positive. With one seed a side the test knows of other items only, and calls seeds different.
With `--seeds N` each side has N of the seeds, drawn with replacement, as a study of N seeds would
have them if there were no others.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from analysis import stats
from analysis.names import Names
from analysis.tables.paired_differences import ITEMS
from analysis.tidy import POINT, groups, predicted, read, rows, writing

COLUMNS = [*POINT, "set", "seeds", "items", "tests", "interval", "p_value", "both"]


@dataclass(frozen=True)
class Draws:
    """A/A tests of each method and task, the resamples of each; seeds a side, 0 for halves."""

    tests: int = 200
    resamples: int = 999
    seeds: int = 0


def false_positives(items: pd.DataFrame, rng: np.random.Generator, draws: Draws) -> pd.DataFrame:
    """One row a model, task, evaluation set, variant and rank with two seeds or more.

    `seeds` is their number on each side; `interval`, `p_value` and `both` are shares of the tests
    whose 95 % interval leaves out 0, whose p is below 0.05, and both, which is a verdict.
    """
    items = predicted(items)
    found = []
    for key, part in groups(items, [*POINT, "set", "metric"]):
        *names, metric = key
        if part["seed"].nunique() > 1:
            seeds = draws.seeds or part["seed"].nunique() // 2
            tests = pd.DataFrame(_tests(part, metric, rng, draws))
            facts = {"seeds": seeds, "items": part["item"].nunique(), "tests": draws.tests}
            point = dict(zip(COLUMNS, names, strict=False))
            found.append(point | facts | tests.mean().to_dict())
    return pd.DataFrame(found, columns=COLUMNS)


def _tests(
    items: pd.DataFrame, metric: str, rng: np.random.Generator, draws: Draws
) -> Iterator[dict[str, bool]]:
    answers = items.sort_values("item")[["seed", "prediction", "label", "correct"]]
    by_seed = [group for _, group in answers.groupby("seed")]
    number = len(by_seed[0])
    for _ in range(draws.tests):
        chosen = rng.integers(number, size=number)
        a, b = (
            pd.concat(
                by_seed[place].iloc[chosen].assign(seed=seed, item=np.arange(number))
                for seed, place in enumerate(places)
            )
            for places in _sides(len(by_seed), draws.seeds, rng)
        )
        test = stats.paired_difference(a, b, metric, rng, draws.resamples)
        outside = test.low > 0 or test.high < 0
        small = test.p_value < stats.LEVEL
        yield {"interval": outside, "p_value": small, "both": outside and small}


def _sides(number: int, seeds: int, rng: np.random.Generator) -> npt.NDArray[np.int64]:
    """Places of seeds, (2, seeds): halves that have none in common, or so many drawn for each."""
    if seeds:
        return rng.integers(number, size=(2, seeds))
    half = number // 2
    return rng.permutation(number)[: 2 * half].reshape(2, half)


def printed(table: pd.DataFrame, names: Names) -> pd.DataFrame:
    """Shares over all methods of a task and number of seeds, in percent."""
    shares = ["interval", "p_value", "both"]
    keys = ["model", "task", "set", "seeds", "items"]
    pooled = table.groupby(keys, sort=False).agg({"tests": "sum"} | dict.fromkeys(shares, "mean"))
    pooled = pooled.reset_index()
    return pd.DataFrame(
        {
            "Model": pooled["model"].map(names.model),
            "Task": [f"{names.task(row.task)} {row.set}".rstrip() for row in rows(pooled)],
            "Seeds a side": pooled["seeds"],
            "Items": pooled["items"],
            "Tests": pooled["tests"],
            "Interval without 0": [f"{100 * share:.1f} %" for share in pooled["interval"]],
            "p below 0.05": [f"{100 * share:.1f} %" for share in pooled["p_value"]],
            "Both": [f"{100 * share:.1f} %" for share in pooled["both"]],
        }
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table of the folders named on the command line."""
    parser = argparse.ArgumentParser(prog="analysis.false_positives", description=__doc__)
    parser.add_argument("folders", nargs="+", type=Path, metavar="FOLDER")
    parser.add_argument("--csv", type=Path, help="a file for the shares of each method")
    parser.add_argument("--draws", type=int, default=Draws.tests, help="tests of each method")
    parser.add_argument("--seeds", type=int, default=0, help="so many a side, with replacement")
    options = parser.parse_args(arguments)
    draws, tables = Draws(options.draws, seeds=options.seeds), []
    for folder in options.folders:
        rng = np.random.default_rng(0)
        items = read(folder / "items.parquet", needs=ITEMS)
        table = false_positives(items, rng, draws)
        tables.append(table.assign(folder=str(folder)))
        text = printed(table, Names.read(folder / "names.csv"))
        sys.stdout.write(f"{folder}\n\n{text.to_markdown(index=False)}\n\n")
    if options.csv:
        with writing(options.csv):
            pd.concat(tables).to_csv(options.csv, index=False)


if __name__ == "__main__":
    main()
