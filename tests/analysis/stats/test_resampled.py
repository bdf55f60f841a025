"""Power, equivalence and intervals of a resampled difference against the theory and simulations."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats as scipy_stats

from analysis.stats.resampled import MARGIN, Resampled

STUDIES = 400
# three standard errors of a share of 0.8 of so many studies
SHARE = 3 * np.sqrt(0.8 * 0.2 / STUDIES)


def sampled(rng, value=0.0, items=0.02, seeds=0.0, number=1) -> Resampled:
    """What a study sees of a true difference, given the standard deviations over its levels."""
    seen = value + rng.normal(0, items)
    return Resampled(seen + rng.normal(0, items, 500), seen + rng.normal(0, seeds, number))


def test_of_items_alone_it_is_the_textbook_s_formula():
    found = Resampled(np.array([-0.03, 0.03]), np.array([0.0]))
    z = scipy_stats.norm.ppf([0.975, 0.8]).sum()
    # t with a million degrees of freedom is the normal distribution to six digits
    assert found.detectable() == pytest.approx(0.03 * z, rel=1e-5)
    assert found.p_value == 1


def test_of_seeds_alone_it_is_the_t_test():
    values = np.array([0.02, 0.05, 0.035])
    found = Resampled(np.zeros(50), values)
    test = scipy_stats.ttest_1samp(values, 0)
    assert found.p_value == pytest.approx(test.pvalue)
    assert (found.error, found.freedom) == pytest.approx((test.statistic**-1 * values.mean(), 2))
    below = scipy_stats.ttest_1samp(values, MARGIN, alternative="less")
    assert found.p_equivalent == pytest.approx(below.pvalue)


@pytest.mark.parametrize(("seeds", "number"), [(0.0, 1), (0.01, 3), (0.03, 3), (0.03, 10)])
@pytest.mark.parametrize("comparisons", [1, 6])
def test_what_is_detectable_is_detected_in_four_of_five_studies(seeds, number, comparisons):
    rng = np.random.default_rng(1)
    true = np.sqrt(0.02**2 + seeds**2 / number)
    freedom = 1e6 if not seeds else true**4 / ((seeds**2 / number) ** 2 / (number - 1))
    noise = Resampled(np.array([-1, 1]) * true, np.zeros(1))
    assert noise.freedom == 1e6
    # the design's own numbers stand for what each study estimates
    design = Resampled(rng.normal(0, 0.02, 10_000), _spread(seeds, number))
    assert design.freedom == pytest.approx(min(freedom, 1e6), rel=0.1)
    size = design.detectable(comparisons)
    found = [
        sampled(rng, size, 0.02, seeds, number).p_value < 0.05 / comparisons for _ in range(STUDIES)
    ]
    # few seeds estimate their spread badly, and with it the degrees of freedom
    off = SHARE + (0.05 if seeds else 0)
    assert np.mean(found) == pytest.approx(0.8, abs=off)


def _spread(deviation: float, number: int) -> np.ndarray:
    """So many values of mean 0 with this standard deviation."""
    if number == 1:
        return np.zeros(1)
    values = scipy_stats.norm.ppf((np.arange(number) + 0.5) / number)
    return deviation * values / values.std(ddof=1)


@pytest.mark.parametrize("difference", [0.0, 0.005, MARGIN, 0.03])
def test_equivalence_is_claimed_only_of_differences_within_the_margin(difference):
    rng = np.random.default_rng(2)
    claimed = [sampled(rng, difference, items=0.003).p_equivalent < 0.05 for _ in range(STUDIES)]
    share = np.mean(claimed)
    if difference >= MARGIN:
        # 0.05, and three standard errors of it
        assert share <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / STUDIES)
    else:
        # the one-sided test's power at 3.3 and 1.7 standard errors from the margin
        expected = scipy_stats.norm.cdf((MARGIN - difference) / 0.003 - 1.645)
        assert share == pytest.approx(expected, abs=SHARE)


def test_methods_that_never_differ_are_the_same_and_certainly_different_ones_are_not():
    same = Resampled(np.zeros(10), np.zeros(3))
    assert (same.p_value, same.p_equivalent, same.detectable()) == (1, 0, 0)
    apart = Resampled(np.full(10, 0.5), np.full(3, 0.5))
    assert (apart.p_value, apart.p_equivalent) == (0, 1)


def test_without_a_common_seed_nothing_is_known():
    nothing = Resampled(np.full(1, np.nan), np.zeros(0))
    known = [nothing.value, nothing.p_value, nothing.p_equivalent, nothing.detectable()]
    assert np.isnan([*known, *nothing.interval(np.random.default_rng(0))]).all()


def test_interval_for_other_tasks_covers_the_mean_of_all_tasks():
    """Tasks, seeds and items drawn anew in each study; the interval for these tasks does not."""
    rng = np.random.default_rng(3)
    covers = {True: 0, False: 0}
    for _ in range(STUDIES):
        per_task = rng.normal(0, 0.05, 4)
        moved = rng.normal(per_task.mean(), 0.01, 500)
        per_seed = per_task.mean() + rng.normal(0, 0.01, 3)
        found = Resampled(moved, per_seed, per_task)
        for other in covers:
            low, high = found.interval(rng, other_tasks=other)
            covers[other] += low < 0 < high
    # a percentile bootstrap of four values, widened, is near its 95 %: 0.9 to 1
    assert covers[True] / STUDIES > 0.9
    assert covers[False] / STUDIES < 0.85
