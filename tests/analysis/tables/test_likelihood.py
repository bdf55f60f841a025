from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from analysis import stats
from analysis.tables import likelihood, likelihood_differences
from analysis.tables.paired_differences import paired_differences, printed
from tests.analysis.conftest import NAMES

TASK = "arithmetic"
KEYS = ["variant", "rank", "seed"]


def with_likelihood(scores: pd.DataFrame, items: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The tables with a loss and a choice on one task; a wrong item has a nat more than a right."""
    own = items["task"] == TASK
    items = items.assign(answer_loss=(2 - items["correct"]).where(own))
    loss = items[own].groupby(KEYS)["answer_loss"].mean()
    rows = scores[(scores["task"] == TASK) & scores["primary"]]
    values = loss.loc[list(rows[KEYS].itertuples(index=False, name=None))].to_numpy()
    losses = rows.assign(metric="answer_loss", value=values, primary=False)
    choices = [
        rows.assign(metric=name, value=value, primary=False)
        for name, value in (("choice", 0.25), ("choice_norm", 0.5))
    ]
    return pd.concat([scores, losses, *choices], ignore_index=True), items


@pytest.fixture
def both(tables):
    return with_likelihood(tables.scores, tables.items)


def test_the_loss_stands_in_nats_beside_replies(both):
    scores, items = both
    table = likelihood.likelihood(scores, NAMES)
    assert set(table["task"]) == {TASK}
    text = likelihood.printed(table, NAMES).set_index(["Method", "Rank"])
    line = text.loc[("LoRA-SB", "16")]
    own = items[(items["variant"] == "lora-sb") & (items["rank"] == 16) & (items["task"] == TASK)]
    expected = stats.mean_interval(own.groupby("seed")["answer_loss"].mean().to_numpy())
    assert line["Loss"] == f"{expected.mean:.3f} ± {expected.high - expected.mean:.3f} (3)"
    assert line["Likeliest option right"] == "25.0 ± 0.0 (3)"
    assert line["by length"] == "50.0 ± 0.0 (3)"
    assert text.loc[("base model", "–"), "Loss"].endswith("(1)")  # noqa: RUF001


def test_a_task_without_options_has_dashes(both):
    scores, _ = both
    scores = scores[~scores["metric"].str.startswith("choice")]
    text = likelihood.printed(likelihood.likelihood(scores, NAMES), NAMES)
    assert set(text["by length"]) == {"–"}  # noqa: RUF001


def test_a_lower_loss_is_the_higher_likelihood(both):
    _, items = both
    of_loss = likelihood_differences.of_likelihood(items)
    random = np.random.default_rng(0)
    table = paired_differences(of_loss, NAMES, random, resamples=200)
    (row,) = table.query(
        "variant_a == 'lora-sb' and rank_a == 16 and variant_b == 'lora'"
    ).itertuples()
    losses = of_loss.groupby(["variant", "rank"])["answer_loss"].mean()
    assert row.difference == pytest.approx(losses["lora", 8] - losses["lora-sb", 16])
    assert row.items == of_loss["item"].nunique()
    assert set(table["metric"]) == {"likelihood"}
    assert len(printed(table, NAMES)) == len(table)
