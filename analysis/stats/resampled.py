"""What resampled items and seeds say of one difference: interval, p, power, equivalence."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import copysign, inf

import numpy as np
from scipy import special

from analysis.stats.metrics import Floats

LEVEL = 0.05  # of every test
POWER = 0.8
MARGIN = 0.01  # differences of a score that are smaller do not matter: one point
_LARGE = 1e6  # degrees of freedom that are as good as infinitely many


@dataclass(frozen=True)
class Resampled:
    """A difference of two scores: (draws,) over draws of the test items, (seeds,) of each seed.

    Its standard error is that for other items and other seeds, whose variances add up. That over
    seeds is estimated from few, hence Student's t, with the degrees of freedom of Satterthwaite
    (1946, doi:10.2307/3002019). With one seed all of it is for other items alone.
    """

    over_items: Floats
    per_seed: Floats
    per_task: Floats = field(default_factory=lambda: np.zeros(0))

    @property
    def value(self) -> float:
        """The difference, averaged over seeds; NaN without any."""
        return float(self.per_seed.mean()) if self.per_seed.size else np.nan

    def interval(self, rng: np.random.Generator, *, other_tasks: bool = False) -> Floats:
        """The 95 % interval, (2,): the bootstrap over items plus those over seeds, and over tasks.

        A bootstrap of n values is too narrow for small n, so that those over seeds and tasks are
        widened by sqrt(n / (n - 1)) t_{n-1} / z (the "expanded percentiles" of Hesterberg 2015,
        doi:10.1080/00031305.2015.1089789).
        """
        if not self.per_seed.size:
            return np.full(2, np.nan)
        moved = self.over_items
        for values in (self.per_seed, self.per_task) if other_tasks else (self.per_seed,):
            if values.size > 1:
                chosen = rng.choice(values - values.mean(), size=(len(moved), values.size))
                moved = moved + _widening(values.size) * chosen.mean(axis=1)
        return np.asarray(np.quantile(moved, [0.025, 0.975]))

    @property
    def error(self) -> float:
        """The standard error."""
        return float(np.sqrt(self.over_items.var() + self._of_seeds))

    @property
    def freedom(self) -> float:
        """Degrees of freedom of the standard error."""
        if not self._of_seeds:
            return _LARGE
        seeds = self._of_seeds**2 / (self.per_seed.size - 1)
        return float(min(_LARGE, self.error**4 / seeds))

    @property
    def p_value(self) -> float:
        """Two-sided p of no difference, for other items and other seeds."""
        return float(2 * special.stdtr(self.freedom, -abs(self._errors(self.value))))

    @property
    def p_equivalent(self) -> float:
        """P of a difference of `MARGIN` or more: the larger of two one-sided tests (TOST).

        Schuirmann 1987, doi:10.1007/BF01068419.
        """
        return float(special.stdtr(self.freedom, -self._errors(MARGIN - abs(self.value))))

    def detectable(self, comparisons: int = 1) -> float:
        """The smallest true difference that this design finds with a probability of `POWER`.

        With many degrees of freedom (z_0.975 + z_0.8) standard errors; in general by the noncentral
        t. Of several comparisons by Bonferroni, and so by Holm at least as often.
        """
        critical = special.stdtrit(self.freedom, 1 - LEVEL / 2 / comparisons)
        return float(special.nctdtrinc(self.freedom, 1 - POWER, critical)) * self.error

    @property
    def _of_seeds(self) -> float:
        seeds = self.per_seed.size
        return float(self.per_seed.var(ddof=1) / seeds) if seeds > 1 else 0.0

    def _errors(self, distance: float) -> float:
        """A distance in standard errors; methods that never differ have none."""
        if self.error:
            return distance / self.error
        return copysign(inf, distance) if distance else 0.0


def _widening(number: int) -> float:
    expanded = np.sqrt(number / (number - 1)) * special.stdtrit(number - 1, 0.975)
    return float(expanded / special.ndtri(0.975))
