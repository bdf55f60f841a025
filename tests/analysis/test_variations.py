from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from analysis import variations
from tests.analysis.conftest import NAMES


def families(table):
    """line -> variant -> value."""
    return {
        line: dict(zip(part["variant"], part["value"], strict=True))
        for line, part in table.groupby("line")
    }


def test_variants_that_differ_in_one_argument_share_a_line(ablations):
    table = variations.varied(ablations.runs, "scaling", NAMES)
    assert families(table) == {
        "lora-sb": {"lora-sb-s0.25": 0.25, "lora-sb": 1.0, "lora-sb-s4": 4.0},
        "lora-sb-sgd": {"lora-sb-sgd-s0.25": 0.25, "lora-sb-sgd": 1.0, "lora-sb-sgd-s4": 4.0},
    }
    # the rank that the variants have, and not the other one of LoRA-SB
    assert set(table["rank"]) == {16}


def test_samples_are_a_column_and_the_line_is_the_methods(ablations):
    table = variations.varied(ablations.runs, "samples", NAMES)
    own = {"lora-sb-n1": 1, "lora-sb-n5": 5, "lora-sb": 64, "lora-sb-n500": 500}
    assert families(table) == {"lora-sb": own}
    without = ablations.runs.query("variant != 'lora-sb'")
    del own["lora-sb"]
    assert families(variations.varied(without, "samples", NAMES)) == {"lora-sb": own}


def test_noise_varies_within_its_own_method(ablations):
    table = variations.varied(ablations.runs, "noise", NAMES)
    assert set(table["variant"]) == {"lora-sb-noise0.1", "lora-sb-noise1", "lora-sb-noise10"}


def test_nothing_varies(tables):
    assert variations.varied(tables.runs, "scaling", NAMES).empty


def test_argument_is_missing_where_a_variant_lacks_it(ablations):
    runs = ablations.runs.drop_duplicates("variant").set_index("variant")
    found = variations.argument(runs, "scaling")
    assert (found["lora-sb-s4"], found["lora-xs"]) == (4.0, 1.0)
    assert np.isnan(found["full"])


def test_a_task_without_a_score_is_left_out(ablations):
    runs = ablations.runs.copy()
    rows = runs["task"] == "world"
    runs.loc[rows, ["status", "score"]] = ["failed", np.nan]
    one = (runs["task"] == "arithmetic") & (runs["seed"] == 0)
    runs.loc[one, ["status", "score"]] = ["failed", np.nan]
    kept = variations.with_scores(runs)
    assert set(kept["task"]) == {"arithmetic", "sentences"}
    scores = variations.percent_scores(kept, [*variations.POINT])
    (found,) = scores.query("task == 'arithmetic' and variant == 'lora'").itertuples()
    seeds = ablations.runs.query("task == 'arithmetic' and variant == 'lora' and seed > 0")
    assert found.n == 2
    assert found.mean == pytest.approx(100 * seeds["score"].mean())


def test_a_variant_that_states_the_studys_own_value_counts_once(ablations):
    runs = ablations.runs
    own = runs[runs["samples"].notna()]
    value = own["samples"].iloc[0]
    twins = own[own["samples"] == value].assign(variant="lora-sb-n0")
    table = variations.varied(pd.concat([runs, twins], ignore_index=True), "samples", NAMES)
    assert len(table) == len(variations.varied(runs, "samples", NAMES))
