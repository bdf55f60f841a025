"""Every claim of the paper as a statement with its own test, and what came of it."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from analysis import formats, stats
from analysis.names import Names
from analysis.tidy import MEAN, groups, read, rows

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

SB, XS, LORA, FULL = "lora-sb", "lora-xs", "lora", "full"
NEAR = 0.9  # so much of the optimum counts as reaching it
FLOAT32 = 1e-3  # cosines of float32 gradients that agree to this are the same

HOLDS, FAILS, OPEN = "holds", "does not hold", "cannot be told at this scale"
COLUMNS = ["source", "claim", "test", "model", "task", "rank", "verdict"]
COLUMNS += ["effect", "low", "high", "n", "unit"]

POINT = ["model", "task", "rank"]
CELL = [*POINT, "seed"]
KEYS = ["variant", *CELL, "step"]
UPDATES = [*KEYS, "cosine", "random_high"]
STEPS = [*KEYS, "equivalent_cosine", "optimum_cosine", "random_high", "subspace_share"]
STEPS += ["adam_cosine", "adam_optimum", "subspace_cosine"]

SCORES = {  # other method -> what is claimed of LoRA-SB beside it
    LORA: "As good as LoRA or better, with far fewer trained numbers.",
    XS: "Better than LoRA-XS at the same rank.",
    FULL: "Gives up nothing against full fine-tuning.",
}

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

EXACT = ["source", "claim", "test", "value", "low", "high", "holds"]
PAIRED = [
    *("model", "task", "variant_a", "rank_a", "variant_b", "rank_b"),
    *("difference", "low", "high", "seeds", "verdict"),
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
        The columns `UPDATES` and `STEPS` of the tidy tables.
    """
    found = [
        *exact_claims(exact),
        *score_claims(paired, names),
        *update_claims(directions),
        *plain_step_claims(gradients),
        *step_claims(gradients),
        *subspace_claims(gradients),
    ]
    return pd.DataFrame(found, columns=COLUMNS)


def exact_claims(exact: pd.DataFrame) -> Iterator[Row]:
    """Theorems, counts and settings: a number and the range in which it must lie."""
    for check in rows(exact):
        limits = []
        if check.low > -np.inf:
            limits.append(f"at least {check.low:g}")
        if check.high < np.inf:
            limits.append(f"at most {check.high:.2g}")
        yield {
            "source": check.source,
            "claim": check.claim,
            "test": f"{check.test}; {' and '.join(limits)}",
            "verdict": "holds exactly" if check.holds else FAILS,
            "effect": check.value,
            "n": 1,
        }


def score_claims(paired: pd.DataFrame, names: Names) -> Iterator[Row]:
    """LoRA-SB's score minus another method's, on the same test items and seeds."""
    for other, claim in SCORES.items():
        for pair in rows(_minus(paired, other)):
            test = f"score minus that of {names.label(other, pair.rank_b)}"
            verdict = {"higher": HOLDS, "lower": FAILS}.get(pair.verdict, OPEN)
            if other == FULL:
                test += f", above -{100 * stats.MARGIN:g} points"
                verdict = above(pair.low, pair.high, -stats.MARGIN)
            yield {
                "source": "Abstract",
                "claim": claim,
                "test": test,
                "model": pair.model,
                "task": pair.task,
                "rank": pair.rank_a,
                "verdict": verdict,
                "effect": pair.difference,
                "low": pair.low,
                "high": pair.high,
                "n": pair.seeds,
                "unit": "points",
            }


def update_claims(directions: pd.DataFrame) -> Iterator[Row]:
    """The update so far against full fine-tuning's, at the first and the last kept step."""
    claim = "Preserves the direction of full fine-tuning's update."
    cells = _over_weights(directions, "cosine", "random_high").dropna(subset=["cosine"])
    for when, now in _ends(cells, "first kept step that moves"):
        yield from _over_seeds(
            _minus_xs(now, "cosine"),
            claim,
            f"cosine with full fine-tuning's update minus that of LoRA-XS, {when}",
        )
        own = now[now["variant"] == SB]
        yield from _over_seeds(
            own.assign(value=own["cosine"] - own["random_high"]),
            claim,
            f"the same cosine minus the 97.5 % quantile of random bases, {when}",
        )


def plain_step_claims(gradients: pd.DataFrame) -> Iterator[Row]:
    """Theorem 5 on the trained models: every weight and step."""
    own = gradients[gradients["variant"] == SB]
    gaps = (own["equivalent_cosine"] - own["subspace_cosine"]).abs()
    for key, part in groups(own.assign(gap=gaps), POINT):
        largest = part["gap"].max()
        yield {
            "source": "Theorem 5",
            "claim": "In training, plain steps are the best that the subspace has.",
            "test": "largest difference between the cosines of its gradient step and of the "
            f"projection, any weight and step; at most {FLOAT32:g}",
            **dict(zip(POINT, key, strict=True)),
            "verdict": HOLDS if largest <= FLOAT32 else FAILS,
            "effect": largest,
            "n": len(part),
        }


def step_claims(gradients: pd.DataFrame) -> Iterator[Row]:
    """The next step against full fine-tuning's at the same weights, at the start and the end."""
    claim = "Simulates full fine-tuning in its subspace along training."
    best = {"equivalent_cosine": "optimum_cosine", "adam_cosine": "adam_optimum"}
    for when, now in _ends(_over_weights(gradients, *best, *best.values(), "random_high"), "start"):
        own = now[now["variant"] == SB]
        for cosine, what in (("equivalent_cosine", "gradient"), ("adam_cosine", "AdamW")):
            yield from _over_seeds(
                own.assign(value=own[cosine] / own[best[cosine]]),
                claim,
                f"cosine of its {what} step with full fine-tuning's, over the best of the rank,"
                f" {when}; near 1",
                bound=NEAR,
            )
        yield from _over_seeds(
            own.assign(value=own["equivalent_cosine"] - own["random_high"]),
            claim,
            f"cosine of its gradient step minus the 97.5 % quantile of random bases, {when}",
        )
        yield from _over_seeds(
            _minus_xs(now, "equivalent_cosine"),
            claim,
            f"cosine of its gradient step minus that of LoRA-XS, {when}",
        )


def subspace_claims(gradients: pd.DataFrame) -> Iterator[Row]:
    """What the fixed subspace has of the gradient at the end, over what it had at the start."""
    cells = _over_weights(gradients, "subspace_share")
    own = cells[cells["variant"] == SB].sort_values("step")
    shares = own.groupby(CELL, sort=False)["subspace_share"]
    yield from _over_seeds(
        (shares.last() / shares.first()).rename("value").reset_index(),
        "The subspace of the start still fits at the end.",
        "share of the gradient's energy inside, last step over start; near 1",
        bound=NEAR,
    )


def above(low: float, high: float, bound: float = 0.0) -> str:
    """What an interval says of the statement that a value is above a bound."""
    if np.isnan(low):
        return OPEN
    return HOLDS if low > bound else FAILS if high < bound else OPEN


def printed(table: pd.DataFrame, names: Names) -> pd.DataFrame:
    """The same as text; differences of scores in points."""
    points = table["unit"] == "points"
    text = pd.DataFrame(
        {
            "Source": table["source"],
            "Claim": table["claim"],
            "Test": table["test"],
            "Model": table["model"].map(names.model, na_action="ignore").fillna(formats.MISSING),
            "Task": table["task"].map(names.task, na_action="ignore").fillna(formats.MISSING),
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


def _minus(paired: pd.DataFrame, other: str) -> pd.DataFrame:
    """Rows that compare LoRA-SB with another method on a task, as LoRA-SB minus the other."""
    paired = paired[paired["task"] != MEAN]
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


def _over_weights(table: pd.DataFrame, *columns: str) -> pd.DataFrame:
    """Means over the adapted weights of each cell and step of LoRA-SB and LoRA-XS."""
    chosen = table[table["variant"].isin([SB, XS])]
    return chosen.groupby(KEYS, sort=False)[list(columns)].mean().reset_index()


def _ends(cells: pd.DataFrame, first: str) -> Iterator[tuple[str, pd.DataFrame]]:
    """The rows of the first and of the last step of each cell, and what to call these steps."""
    steps = cells.groupby(["variant", *CELL], sort=False)["step"]
    yield first, cells[cells["step"] == steps.transform("min")]
    yield "last step", cells[cells["step"] == steps.transform("max")]


def _minus_xs(now: pd.DataFrame, column: str) -> pd.DataFrame:
    """`value`: a column of LoRA-SB minus that of LoRA-XS at the same rank and seed."""
    own, other = (now[now["variant"] == variant][[*CELL, column]] for variant in (SB, XS))
    both = own.merge(other, on=CELL, suffixes=("", "_other"))
    return both.assign(value=both[column] - both[f"{column}_other"])


def _over_seeds(cells: pd.DataFrame, claim: str, test: str, *, bound: float = 0.0) -> Iterator[Row]:
    """A row a task and rank: mean of `value` over seeds, and whether it is above the bound."""
    for key, part in groups(cells, POINT):
        found = stats.mean_interval(part["value"].dropna().to_numpy(float))
        yield {
            "source": "Abstract",
            "claim": claim,
            "test": test,
            **dict(zip(POINT, key, strict=True)),
            "verdict": above(found.low, found.high, bound),
            "effect": found.mean,
            "low": found.low,
            "high": found.high,
            "n": found.n,
        }


def _interval(low: float, high: float, scaled: bool) -> str:
    if np.isnan(low):
        return formats.MISSING
    return formats.interval(low, high) if scaled else f"[{low:.3g}, {high:.3g}]"


if "snakemake" in globals():
    names = Names.read(snakemake.input.names)
    table = ledger(
        read(snakemake.input.exact, needs=EXACT),
        read(snakemake.input.paired, needs=PAIRED),
        read(snakemake.input.directions, columns=UPDATES),
        read(snakemake.input.gradients, columns=STEPS),
        names,
    )
    formats.write(table, printed(table, names), NOTES, **dict(snakemake.output.items()))
