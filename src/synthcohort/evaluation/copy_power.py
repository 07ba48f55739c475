"""What leak would the copy verdict have caught? The chance of `fail` at each share of copies, on this very data."""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from scipy import stats

from synthcohort.metrics.intervals import fisher_greater

POWER = 0.95
RATES = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1)  # shares of copies that the curve is given at


@lru_cache(maxsize=4096)
def hits_needed(n: int, control_hits: int, m: int, significance: float) -> int | None:
    """The fewest hits among `n` images that chance explains less often than `significance`; None: not even all."""

    def decides(hits: int) -> bool:
        more = hits * m > control_hits * n  # a higher rate than among strangers
        p = fisher_greater(successes=hits, trials=n, control_successes=control_hits, control_trials=m)
        return more and p < significance

    if n < 1 or m < 1 or not decides(n):
        return None
    low, high = 0, n  # more hits are never less surprising
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if decides(middle) else (middle, high)
    return high


def fail_probability(rate: float, n: int, control_hits: int, m: int, sensitivity: float, significance: float) -> float:
    """How often a share `rate` of copies among `n` images would have ended in `fail`.

    Hits are binomial: the copies that the detector finds, and the strangers' rate of chance hits among the others.
    """
    needed = hits_needed(n, control_hits, m, significance)
    if needed is None:
        return 0.0
    return float(stats.binom.sf(needed - 1, n, rate * sensitivity + (1 - rate) * control_hits / m))


Comparison = tuple[int, int, int, float, float]  # the arguments of `fail_probability` after the rate


def smallest_rate_caught(n: int, control_hits: int, m: int, sensitivity: float, significance: float) -> float | None:
    """The smallest share of copies that would have ended in `fail` with probability 0.95; None: not even all copies."""
    return smallest_rate_caught_by([(n, control_hits, m, sensitivity, significance)])


def smallest_rate_caught_by(comparisons: Sequence[Comparison]) -> float | None:
    """The same for several comparisons, any of which fails the verdict; the better one's chance is counted alone."""
    for rate in np.geomspace(1e-4, 1.0, 401):
        if max(fail_probability(float(rate), *comparison) for comparison in comparisons) >= POWER:
            return float(round(rate, 6))
    return None


def power_curve(comparisons: Sequence[Comparison], rates: Sequence[float] = RATES) -> list[dict[str, float]]:
    """The probability of `fail` at each leak rate: [{leak_rate, fail_probability}], for a figure."""
    return [
        {
            "leak_rate": float(rate),
            "fail_probability": round(max(fail_probability(rate, *comparison) for comparison in comparisons), 6),
        }
        for rate in rates
    ]
