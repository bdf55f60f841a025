from __future__ import annotations

import pytest

from analysis.report.costs import COSTS
from analysis.report.points import points
from analysis.report.spread import MARK, STEPS, WIDEST, _boxes, apart, cost_of, offsets


def test_points_far_apart_stay_where_they_are():
    assert apart([(0, 0, 10), (50, 0, 10), (0, 40, 50)]) == [0, 0, 0]


def test_intervals_at_one_cost_stand_beside_each_other_by_less_than_a_mark():
    found = apart([(100, 0, 20)] * 3)
    assert sorted(found) == [-STEPS[0], 0, STEPS[0]]
    assert STEPS[0] < MARK


@pytest.mark.parametrize("number", [10, 20])
def test_many_of_equal_cost_stay_close_together(number):
    found = apart([(100, 0, 20)] * number)
    assert len(set(found)) == number
    assert max(found) - min(found) <= WIDEST


@pytest.mark.parametrize("cost", [cost.name for cost in COSTS if cost.name != "served"])
def test_no_point_of_forty_methods_hides_another(forty, cost):
    drawn = points(*forty)
    moves = offsets(drawn, "measured", "world", cost)
    known = [
        (point, value)
        for point in drawn
        if (value := cost_of(point, "measured", "world", cost)) is not None
    ]
    boxes = [
        (x + moves.get(point.key, 0.0), top, bottom)
        for (point, _), (x, top, bottom) in zip(known, _boxes(known, "world"), strict=True)
    ]
    for place, (x, top, bottom) in enumerate(boxes):
        for other, high, low in boxes[:place]:
            beside = abs(x - other) >= STEPS[1] - 1e-9  # float64 sums of pixels
            assert beside or top > low or bottom < high


def test_a_cost_that_is_not_known_has_no_place(found):
    assert cost_of(found[2], "large", "world", "step") is None
    assert offsets(found, "large", "world", "step") == {}
    assert cost_of(found[2], "large", "world", "stored") == cost_of(
        found[2], "large", "mean", "stored"
    )
