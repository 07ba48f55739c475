"""Equivalence by two one-sided tests: is a difference shown to be smaller than what would matter?"""

import math
from dataclasses import dataclass

from scipy import stats

from synthcohort.metrics.readers_mrmc import Estimate


@dataclass(frozen=True)
class Equivalence:
    """`equivalent`: both one-sided tests reject at `alpha`, which is when `low` to `high` (1 − 2 alpha) lies inside."""

    difference: float
    low: float
    high: float
    margin: float
    alpha: float
    p: float
    equivalent: bool


def tost(found: Estimate, margin: float, alpha: float = 0.05) -> Equivalence:
    """Tests that |difference| is below `margin`, chosen before the data were seen. Source: Schuirmann 1987."""
    if not margin > 0 or not 0 < alpha < 0.5:
        raise ValueError(f"margin {margin}, alpha {alpha}")
    if not found.error > 0:  # answers that do not vary have no measurable error: they show nothing
        return Equivalence(found.value, -math.inf, math.inf, margin, alpha, 1.0, False)
    law = stats.norm if math.isinf(found.df) else stats.t(found.df)
    p = max(
        float(law.sf((found.value + margin) / found.error)),  # H0: difference ≤ −margin
        float(law.cdf((found.value - margin) / found.error)),  # H0: difference ≥ margin
    )
    half = float(law.ppf(1 - alpha)) * found.error
    return Equivalence(found.value, found.value - half, found.value + half, margin, alpha, p, p < alpha)
