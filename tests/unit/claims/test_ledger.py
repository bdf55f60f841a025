"""Counts and settings of the ledger against numbers written down elsewhere."""

from __future__ import annotations

import pandas as pd
import pytest

from lorasb.claims.ledger import bfloat16_spacing, start_claims, trainable_claims
from lorasb.claims.theorems import Check
from lorasb.stages import check_exact_claims as stage
from lorasb.stages.check_exact_claims import check_exact_claims

STUDY = "quickstart"


def test_ratios_are_those_of_the_exact_counts():
    """26.9, 89.7 and 91.4 times fewer; 3.21 M against 1.11 M with RoBERTa's head."""
    rows = list(trainable_claims())
    trained = [round(row.value, 1) for row in rows if "trained numbers" in row.test]
    assert trained == [27, 90, 91, 39]
    with_head = [row for row in rows if "task head, which" in row.test]
    assert [round(row.value, 1) for row in with_head] == [2.9]
    assert not with_head[0].holds


def test_what_is_stored_is_more_than_for_lora():
    """r (m + n) grows with the rank: 96 against 32 is three times as much, and R comes on top."""
    stored = [row for row in trainable_claims() if row.source == "Not claimed"]
    assert [round(row.value, 1) for row in stored] == [3.0, 2.0, 2.0, 3.0]
    assert not any(row.holds for row in stored)


def test_start_of_the_authors_code_is_ten_and_nineteen_times_too_small():
    rows = list(start_claims())
    ratios = [1 / row.value for row in rows if "optimiser step" in row.test]
    assert [round(ratio) for ratio in ratios] == [10, 19]
    assert not any(row.holds for row in rows)


@pytest.mark.parametrize(("value", "expected"), [(1.0, 2**-7), (0.01, 2**-14), (0.0079, 2**-14)])
def test_spacing_of_bfloat16(value, expected):
    assert bfloat16_spacing(value) == expected
    import torch

    near = torch.tensor(value, dtype=torch.bfloat16)
    above = torch.nextafter(near, torch.tensor(9.0, dtype=torch.bfloat16))
    assert (above - near).item() == expected


def test_table_says_what_holds(project):
    check_exact_claims(STUDY)
    table = pd.read_csv(project / "results/quickstart/tables/exact_claims.csv")
    assert {"source", "claim", "test", "value", "low", "high", "holds"} == set(table)
    inside = (table["value"] >= table["low"]) & (table["value"] <= table["high"])
    assert inside.equals(table["holds"])


def test_bytes_do_not_depend_on_how_a_run_rounds(project, monkeypatch):
    written = []
    for noise in (5e-16, -3e-16, 0.0):  # 1 + noise is one of three neighbouring doubles
        values = [noise, 0.25 + noise, 1e-6 + noise / 1000, 1.8388372012283385 + noise]
        found = [Check("", "", "", value, low=-1.0 + noise, high=noise) for value in values]
        monkeypatch.setattr(stage, "exact_claims", lambda found=found: iter(found))
        check_exact_claims(STUDY)
        written.append((project / "results/quickstart/tables/exact_claims.csv").read_text())
    assert len(set(written)) == 1
    assert "1e-06" in written[0]  # AdamW's epsilon is told from zero
