"""Every claim of the paper as a statement with its own test, and what came of it."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from analysis import formats, stats
from analysis.names import Names
from analysis.tidy import groups, read, rows

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

SB, XS, LORA, FULL = "lora-sb", "lora-xs", "lora", "full"
MARGIN = 0.01  # a score that is lower by less counts as kept
NEAR = 0.9  # so much of the optimum counts as reaching it
FLOAT32 = 1e-3  # cosines of float32 gradients that agree to this are the same

HOLDS, FAILS, OPEN = "holds", "does not hold", "cannot be told at this scale"
COLUMNS = ["source", "claim", "test", "model", "task", "rank", "verdict"]
COLUMNS += ["effect", "low", "high", "n", "unit"]

KEYS = ["model", "task", "rank", "seed", "step"]
UPDATES = ["cosine", "random_high"]
STEPS = ["equivalent_cosine", "optimum_cosine", "random_high", "subspace_share"]
STEPS += ["adam_cosine", "adam_optimum"]

NOTES = [
    "Exact: theorems on small random problems in float64, counts of parameters, settings; n is 1."
    " Effect is the number that the test names.",
    "Scores: effect is a difference in points with its 95 % interval for other test items and"
    " other seeds; holds or does not hold as in the table of paired differences; n counts seeds.",
    "Directions: effect is a mean over adapted weights, then over seeds, with a 95 % t interval"
    " over seeds; n counts seeds. A ratio that should be near 1 holds if its interval is above"
    f" {NEAR}.",
    "What cannot be told at this scale is neither confirmed nor refuted: the interval has both.",
]

Row = dict[str, Any]


def ledger(
    exact: pd.DataFrame,
    paired: pd.DataFrame,
    directions: pd.DataFrame,
    gradients: pd.DataFrame,
    names: Names,
) -> pd.DataFrame:
    """One row a claim and what it was tested on.

    Parameters
    ----------
    exact
        `exact_claims.csv`: source, claim, test, value, low, high, holds.
    paired
        `paired_differences.csv`.
    directions, gradients
        The tidy tables; the columns of `KEYS` and `UPDATES`, or `STEPS`, variant and module.
    """
    found = [
        *_exact_rows(exact),
        *_score_rows(paired, names),
        *_update_rows(directions),
        *_gradient_rows(gradients),
    ]
    return pd.DataFrame(found, columns=COLUMNS)


def above(low: float, high: float, bound: float = 0.0) -> str:
    """What an interval says of the statement that a value is above a bound."""
    if np.isnan(low):
        return OPEN
    return HOLDS if low > bound else FAILS if high < bound else OPEN


def _exact_rows(exact: pd.DataFrame) -> Iterator[Row]:
    for check in rows(exact):
        limits = [f"at least {check.low:g}"] * (check.low > -np.inf)
        limits += [f"at most {check.high:.2g}"] * (check.high < np.inf)
        yield {
            "source": check.source,
            "claim": check.claim,
            "test": f"{check.test}; {' and '.join(limits)}",
            "verdict": "holds exactly" if check.holds else FAILS,
            "effect": check.value,
            "n": 1,
        }


def _score_rows(paired: pd.DataFrame, names: Names) -> Iterator[Row]:
    for claim, other in (
        ("As good as LoRA or better, with far fewer trained numbers.", LORA),
        ("Better than LoRA-XS at the same rank.", XS),
        ("Gives up nothing against full fine-tuning.", FULL),
    ):
        for pair in rows(_differences(paired, other)):
            rank = f", r = {pair.rank_b}" if pair.rank_b else ""
            row = {
                "source": "Abstract",
                "claim": claim,
                "test": f"score minus that of {names.label(other)}{rank}",
                "model": pair.model,
                "task": pair.task,
                "rank": pair.rank_a,
                "effect": pair.difference,
                "low": pair.low,
                "high": pair.high,
                "n": pair.seeds,
                "unit": "points",
            }
            if other == FULL:
                row["test"] += f", above -{100 * MARGIN:g} points"
                yield row | {"verdict": above(pair.low, pair.high, -MARGIN)}
            else:
                verdicts = {"higher": HOLDS, "lower": FAILS}
                yield row | {"verdict": verdicts.get(pair.verdict, OPEN)}


def _differences(paired: pd.DataFrame, other: str) -> pd.DataFrame:
    """Rows that compare LoRA-SB with another method, as LoRA-SB minus the other."""
    straight = paired[(paired["variant_a"] == SB) & (paired["variant_b"] == other)]
    turned = paired[(paired["variant_a"] == other) & (paired["variant_b"] == SB)]
    flipped = turned.assign(
        variant_a=turned["variant_b"],
        rank_a=turned["rank_b"],
        variant_b=turned["variant_a"],
        rank_b=turned["rank_a"],
        difference=-turned["difference"],
        low=-turned["high"],
        high=-turned["low"],
        verdict=turned["verdict"].replace({"higher": "lower", "lower": "higher"}),
    )
    return pd.concat([straight, flipped]).sort_index()


def _update_rows(directions: pd.DataFrame) -> Iterator[Row]:
    cells = _means(directions, UPDATES)
    moved = cells[cells["cosine"].notna()]
    claim = "Preserves the direction of full fine-tuning's update."
    for when, now in _ends(moved, "first kept step that moves"):
        yield from _compared(
            now,
            "cosine",
            claim=claim,
            test=f"cosine with full fine-tuning's update minus that of LoRA-XS, {when}",
        )
        own = now[now["variant"] == SB]
        yield from _over_seeds(
            own.assign(value=own["cosine"] - own["random_high"]),
            claim=claim,
            test=f"the same cosine minus the 97.5 % quantile of random bases, {when}",
        )


def _gradient_rows(gradients: pd.DataFrame) -> Iterator[Row]:
    yield from _plain_is_best(gradients)
    cells = _means(gradients, STEPS)
    for when, now in _ends(cells, "start"):
        yield from _step_rows(now, when)
    yield from _share_rows(cells[cells["variant"] == SB])


def _step_rows(now: pd.DataFrame, when: str) -> Iterator[Row]:
    """The method's own step against full fine-tuning's at the same weights."""
    claim = "Simulates full fine-tuning in its subspace along training."
    own = now[now["variant"] == SB]
    for name, optimum, what in (
        ("equivalent_cosine", "optimum_cosine", "gradient step"),
        ("adam_cosine", "adam_optimum", "AdamW step"),
    ):
        yield from _over_seeds(
            own.assign(value=own[name] / own[optimum]),
            claim=claim,
            test=f"cosine of its {what} with full fine-tuning's, over the best of the rank, {when};"
            " near 1",
            bound=NEAR,
        )
    yield from _over_seeds(
        own.assign(value=own["equivalent_cosine"] - own["random_high"]),
        claim=claim,
        test=f"cosine of its gradient step minus the 97.5 % quantile of random bases, {when}",
    )
    yield from _compared(
        now,
        "equivalent_cosine",
        claim=claim,
        test=f"cosine of its gradient step minus that of LoRA-XS, {when}",
    )


def _share_rows(own: pd.DataFrame) -> Iterator[Row]:
    """What the fixed subspace has of the gradient at the end, over what it had at the start."""
    shares = own.sort_values("step").groupby(KEYS[:-1], sort=False)["subspace_share"]
    yield from _over_seeds(
        (shares.last() / shares.first()).rename("value").reset_index(),
        claim="The subspace of the start still fits at the end.",
        test="share of the gradient's energy inside, last step over start; near 1",
        bound=NEAR,
    )


def _plain_is_best(gradients: pd.DataFrame) -> Iterator[Row]:
    """Theorem 5 on the trained models: every weight and step."""
    own = gradients[gradients["variant"] == SB]
    gaps = (own["equivalent_cosine"] - own["subspace_cosine"]).abs()
    for (model, task, rank), part in groups(own.assign(gap=gaps), ["model", "task", "rank"]):
        largest = part["gap"].max()
        yield {
            "source": "Theorem 5",
            "claim": "In training, plain steps are the best that the subspace has.",
            "test": "largest difference between the cosines of its gradient step and of the "
            f"projection, any weight and step; at most {FLOAT32:g}",
            "model": model,
            "task": task,
            "rank": rank,
            "verdict": HOLDS if largest <= FLOAT32 else FAILS,
            "effect": largest,
            "n": len(part),
        }


def _means(table: pd.DataFrame, columns: list[str]) -> pd.DataFrame:
    """Means over the adapted weights of each cell and step."""
    chosen = table[table["variant"].isin([SB, XS])]
    return chosen.groupby(["variant", *KEYS], sort=False)[columns].mean().reset_index()


def _ends(cells: pd.DataFrame, first: str) -> Iterator[tuple[str, pd.DataFrame]]:
    """The rows of the first and of the last step of each cell, and what to call these steps."""
    steps = cells.groupby(["variant", *KEYS[:-1]], sort=False)["step"]
    yield first, cells[cells["step"] == steps.transform("min")]
    yield "last step", cells[cells["step"] == steps.transform("max")]


def _compared(now: pd.DataFrame, name: str, *, claim: str, test: str) -> Iterator[Row]:
    """LoRA-SB minus LoRA-XS at the same rank and seed."""
    keys = KEYS[:-1]
    sides = [now[now["variant"] == variant][[*keys, name]] for variant in (SB, XS)]
    both = sides[0].merge(sides[1], on=keys, suffixes=("", "_other"))
    differences = both.assign(value=both[name] - both[f"{name}_other"])
    yield from _over_seeds(differences, claim=claim, test=test)


def _over_seeds(cells: pd.DataFrame, *, claim: str, test: str, bound: float = 0.0) -> Iterator[Row]:
    for (model, task, rank), part in groups(cells, ["model", "task", "rank"]):
        found = stats.mean_interval(part["value"].dropna().to_numpy(float))
        yield {
            "source": "Abstract",
            "claim": claim,
            "test": test,
            "model": model,
            "task": task,
            "rank": rank,
            "verdict": above(found.low, found.high, bound),
            "effect": found.mean,
            "low": found.low,
            "high": found.high,
            "n": found.n,
        }


def printed(table: pd.DataFrame, names: Names) -> pd.DataFrame:
    """The same as text; differences of scores in points."""
    points = table["unit"] == "points"
    text = pd.DataFrame(
        {
            "Source": table["source"],
            "Claim": table["claim"],
            "Test": table["test"],
            "Model": table["model"].map(names.model, na_action="ignore").fillna(formats.MISSING),
            "Task": [
                formats.MISSING if pd.isna(task) else names.task(task) for task in table["task"]
            ],
            "Rank": [formats.MISSING if pd.isna(rank) else f"{rank:.0f}" for rank in table["rank"]],
            "Verdict": table["verdict"],
            "Effect": [
                formats.percent(value) if scaled else f"{value:.3g}"
                for value, scaled in zip(table["effect"], points, strict=True)
            ],
            "95 % interval": [
                _interval(low, high, scaled)
                for low, high, scaled in zip(table["low"], table["high"], points, strict=True)
            ],
            "n": table["n"].astype(str),
        }
    )
    return text if table["model"].nunique() > 1 else text.drop(columns="Model")


def _interval(low: float, high: float, scaled: bool) -> str:
    if np.isnan(low):
        return formats.MISSING
    return formats.interval(low, high) if scaled else f"[{low:.3g}, {high:.3g}]"


if "snakemake" in globals():
    names = Names.read(snakemake.input.names)
    table = ledger(
        read(snakemake.input.exact),
        read(snakemake.input.paired),
        read(snakemake.input.directions, columns=["variant", *KEYS, *UPDATES]),
        read(snakemake.input.gradients, columns=["variant", *KEYS, *STEPS, "subspace_cosine"]),
        names,
    )
    formats.write(table, printed(table, names), NOTES, **dict(snakemake.output.items()))
