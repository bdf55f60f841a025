from __future__ import annotations

from itertools import combinations

import pytest

from analysis.report.pairs import VERDICTS, against
from tests.analysis.conftest import MODEL


def test_every_pair_that_was_run_is_compared_on_each_task_and_on_the_mean(found, compared):
    run = [place for place, point in enumerate(found) if point.runs]
    for score in ("mean", "arithmetic", "world", "sentences"):
        assert [(pair.a, pair.b) for pair in compared[score]] == list(combinations(run, 2))


def test_value_is_the_difference_of_the_means_over_common_seeds(found, compared):
    for pair in compared["sentences"]:
        a, b = (found[place].scores["sentences"] for place in (pair.a, pair.b))
        if a.n == b.n == 3:
            assert pair.low <= pair.value <= pair.high


def test_planned_tests_decide_where_there_are_any(study, found, compared):
    places = {point.key: place for place, point in enumerate(found)}
    planned, verdicts = 0, set()
    for row in study.paired[study.paired["set"] == ""].itertuples():
        a = places[f"{MODEL}-{row.variant_a}-{row.rank_a}"]
        b = places[f"{MODEL}-{row.variant_b}-{row.rank_b}"]
        pair = against(compared[row.task], b)[a]
        assert (pair.verdict, pair.planned) == (VERDICTS[row.verdict], True)
        assert pair.value == pytest.approx(row.difference)
        assert (pair.low, pair.high, pair.detectable) == (row.low, row.high, row.detectable)
        planned += 1
        verdicts.add((a < b, pair.verdict))
    # b stands before a in display order, so that a sign that was not turned shows
    assert verdicts == {(False, -1), (False, 0)}
    assert planned == sum(pair.planned for some in compared.values() for pair in some) > 0


def test_elsewhere_the_interval_and_a_p_for_all_pairs_decide(compared):
    free = [pair for some in compared.values() for pair in some if not pair.planned]
    sure = [pair for pair in free if pair.verdict]
    for pair in sure:
        assert pair.verdict == (pair.low > 0) - (pair.high < 0)
    assert {pair.verdict for pair in free} == {-1, 0, 1}
    # an interval without 0 is not enough
    assert any(not pair.verdict and not pair.low < 0 < pair.high for pair in free)


def test_against_turns_a_pair_round(compared):
    pair = compared["world"][3]
    assert against(compared["world"], pair.b)[pair.a] == pair
    turned = against(compared["world"], pair.a)[pair.b]
    assert (turned.value, turned.low, turned.high) == (-pair.value, -pair.high, -pair.low)
    assert turned.verdict == -pair.verdict
