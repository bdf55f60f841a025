from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from analysis.tables.claims import FAILS, HOLDS, OPEN, above, ledger, printed
from analysis.tables.paired_differences import paired_differences
from tests.analysis.conftest import NAMES, make_tables

LORA = "As good as LoRA or better, with far fewer trained numbers."
FULL = "Gives up nothing against full fine-tuning."
DIRECTION = "Preserves the direction of full fine-tuning's update."
SIMULATES = "Simulates full fine-tuning in its subspace along training."


@pytest.fixture(scope="module")
def paired(tables) -> pd.DataFrame:
    return paired_differences(tables.items, NAMES, np.random.default_rng(0), resamples=99)


@pytest.fixture(scope="module")
def claims(tables, paired) -> pd.DataFrame:
    return ledger(tables.exact, paired, tables.directions, tables.gradients, NAMES)


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [(0.1, 0.3, HOLDS), (-0.3, -0.1, FAILS), (-0.1, 0.1, OPEN), (np.nan, np.nan, OPEN)],
)
def test_verdict_of_an_interval(low, high, verdict):
    assert above(low, high) == verdict
    assert above(low + 1, high + 1, 1.0) == verdict


def test_exact_claims_come_first_with_their_bounds(claims):
    found = claims.iloc[:4]
    assert list(found["verdict"]) == ["holds exactly", "holds exactly", FAILS, FAILS]
    assert found["test"].iloc[0] == "difference; at most 1e-10"
    assert found["test"].iloc[1] == "ratio; at least 27"
    assert found["test"].iloc[3] == "ratio; at least 0.5 and at most 2"
    assert found["task"].isna().all()


def test_scores_say_what_the_paired_differences_say(claims, paired):
    rows = claims[claims["claim"] == LORA]
    assert len(rows) == 3 * 2  # tasks x ranks
    for row in rows.itertuples():
        (pair,) = paired[
            (paired["task"] == row.task)
            & (paired["variant_a"] == "lora-sb")
            & (paired["rank_a"] == row.rank)
            & (paired["variant_b"] == "lora")
        ].itertuples()
        assert row.effect == pair.difference
        expected = {"higher": HOLDS, "lower": FAILS}.get(pair.verdict, OPEN)
        assert row.verdict == expected


def test_a_pair_the_other_way_round_is_turned(tables, paired):
    turned = paired.assign(
        variant_a=paired["variant_b"],
        rank_a=paired["rank_b"],
        variant_b=paired["variant_a"],
        rank_b=paired["rank_a"],
        difference=-paired["difference"],
        low=-paired["high"],
        high=-paired["low"],
        verdict=paired["verdict"].map(
            {"higher": "lower", "lower": "higher", "cannot be told": "cannot be told"}
        ),
    )
    straight = ledger(tables.exact, paired, tables.directions, tables.gradients, NAMES)
    again = ledger(tables.exact, turned, tables.directions, tables.gradients, NAMES)
    pd.testing.assert_frame_equal(again, straight)


def test_a_loss_of_less_than_a_point_is_none(tables, paired):
    near = paired.assign(low=-0.009, high=0.5)
    rows = ledger(tables.exact, near, tables.directions, tables.gradients, NAMES)
    assert set(rows.loc[rows["claim"] == FULL, "verdict"]) == {HOLDS}
    far = paired.assign(low=-0.5, high=-0.011)
    rows = ledger(tables.exact, far, tables.directions, tables.gradients, NAMES)
    assert set(rows.loc[rows["claim"] == FULL, "verdict"]) == {FAILS}


def test_directions_are_compared_seed_by_seed(claims, tables):
    row = claims[
        (claims["claim"] == DIRECTION)
        & claims["test"].str.contains("LoRA-XS, last step")
        & (claims["task"] == "world")
        & (claims["rank"] == 16)
    ].iloc[0]
    chosen = tables.directions.query("task == 'world' and rank == 16 and step == 100")
    means = chosen.groupby(["variant", "seed"])["cosine"].mean()
    expected = means["lora-sb"] - means["lora-xs"]
    assert row["effect"] == pytest.approx(expected.mean())
    assert row["low"] < expected.min() < expected.max() < row["high"]
    assert (row["n"], row["verdict"]) == (3, HOLDS)


def test_steps_are_judged_by_the_best_of_their_rank(claims, tables):
    rows = claims[(claims["claim"] == SIMULATES) & claims["test"].str.contains("near 1")]
    assert set(rows["verdict"]) == {FAILS}
    row = rows[rows["test"].str.contains("gradient step .* start")].iloc[0]
    chosen = tables.gradients.query("variant == 'lora-sb' and step == 0")
    chosen = chosen[(chosen["task"] == row["task"]) & (chosen["rank"] == row["rank"])]
    means = chosen.groupby("seed")[["equivalent_cosine", "optimum_cosine"]].mean()
    ratio = means["equivalent_cosine"] / means["optimum_cosine"]
    assert row["effect"] == pytest.approx(ratio.mean())


def test_share_at_the_end_is_over_that_at_the_start(claims, tables):
    row = claims[claims["claim"].str.contains("still fits")].iloc[0]
    chosen = tables.gradients.query("variant == 'lora-sb'")
    chosen = chosen[(chosen["task"] == row["task"]) & (chosen["rank"] == row["rank"])]
    shares = chosen.groupby(["step", "seed"])["subspace_share"].mean()
    assert row["effect"] == pytest.approx((shares[100] / shares[0]).mean())


def test_plain_steps_are_judged_by_the_worst_weight(tables, paired):
    gradients = tables.gradients.copy()
    rows = ledger(tables.exact, paired, tables.directions, gradients, NAMES)
    assert set(rows.loc[rows["claim"].str.startswith("In training"), "verdict"]) == {HOLDS}
    one = gradients.index[gradients["variant"] == "lora-sb"][0]
    gradients.loc[one, "subspace_cosine"] += 0.01
    rows = ledger(tables.exact, paired, tables.directions, gradients, NAMES)
    verdicts = rows.loc[rows["claim"].str.startswith("In training"), "verdict"]
    assert sorted(verdicts) == sorted([FAILS] + [HOLDS] * (len(verdicts) - 1))


def test_one_seed_tells_nothing_about_directions():
    tables = make_tables(tasks=1, seeds=1)
    paired = paired_differences(tables.items, NAMES, np.random.default_rng(0), resamples=99)
    rows = ledger(tables.exact, paired, tables.directions, tables.gradients, NAMES)
    assert set(rows.loc[rows["claim"] == DIRECTION, "verdict"]) == {OPEN}


def test_study_without_directions_keeps_the_other_claims(tables, paired):
    rows = ledger(
        tables.exact, paired, tables.directions.iloc[:0], tables.gradients.iloc[:0], NAMES
    )
    own = paired[(paired["variant_a"] == "lora-sb") & (paired["task"] != "mean")]
    assert len(rows) == 4 + len(own)


def test_printed_has_points_for_scores_and_numbers_for_the_rest(claims):
    text = printed(claims, NAMES)
    assert "Model" not in text
    assert text["95 % interval"].iloc[0] == "–"  # noqa: RUF001
    score = claims[claims["unit"] == "points"].index[0]
    assert text.loc[score, "Effect"] == f"{100 * claims.loc[score, 'effect']:.1f}"
    assert text["Rank"].iloc[0] == "–"  # noqa: RUF001
