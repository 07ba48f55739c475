"""Clinical equivalence of a measurement: two one-sided tests against a stated margin, never "p > 0.05"."""

from dataclasses import dataclass

import numpy as np
from scipy import stats

from synthcohort.metrics.intervals import group_index
from synthcohort.metrics.scored import Groups


@dataclass(frozen=True)
class Equivalence:
    """Synthetic less real mean; `low` to `high` is the interval at 1 - 2 · level, which the margin must hold."""

    difference: float
    low: float
    high: float
    p_value: float  # of the larger of the two one-sided tests
    margin: float
    level: float
    num_real: int  # patients
    num_synthetic: int

    @property
    def equivalent(self) -> bool:
        """Whether the means differ by less than the margin, at this level."""
        return self.p_value < self.level

    @property
    def different(self) -> bool:
        """Whether the means differ by more than the margin: the whole interval lies beyond it."""
        return self.low > self.margin or self.high < -self.margin


def patient_means(values: np.ndarray, groups: Groups | None = None) -> np.ndarray:
    """The mean of each patient's finite values: images of one patient are one observation."""
    values = np.asarray(values, np.float64)
    index = np.arange(len(values)) if groups is None else group_index(groups)
    finite = np.isfinite(values)
    counts = np.bincount(index[finite], minlength=1)
    sums = np.bincount(index[finite], values[finite], minlength=1)
    return sums[counts > 0] / counts[counts > 0]


def equivalence(
    *,
    real: np.ndarray,
    synthetic: np.ndarray,
    margin: float,
    level: float = 0.05,
    real_patients: Groups | None = None,
    synthetic_patients: Groups | None = None,
) -> Equivalence:
    """TOST with Welch's standard error over patients: are the mean measurements within ± margin of each other?

    real [N], synthetic [M] in the unit of the margin; values that are not finite (not measurable) are left out.
    Raises ValueError for a margin that is not positive and for fewer than two patients on a side.
    Source: Schuirmann 1987; Welch 1947.
    """
    if not margin > 0:
        raise ValueError(f"margin {margin}; needed: more than 0, in the unit of the measurement")
    a, b = patient_means(real, real_patients), patient_means(synthetic, synthetic_patients)
    if min(len(a), len(b)) < 2:
        raise ValueError(f"{len(a)} real and {len(b)} synthetic patients with a measurement; needed: 2 or more each")
    parts = a.var(ddof=1) / len(a), b.var(ddof=1) / len(b)
    error = float(np.sqrt(sum(parts)))
    difference = float(b.mean() - a.mean())
    if error == 0:
        p_value = 0.0 if abs(difference) < margin else 1.0
        return Equivalence(difference, difference, difference, p_value, margin, level, len(a), len(b))
    freedom = sum(parts) ** 2 / (parts[0] ** 2 / (len(a) - 1) + parts[1] ** 2 / (len(b) - 1))
    p_low = float(stats.t.sf((difference + margin) / error, freedom))
    p_high = float(stats.t.cdf((difference - margin) / error, freedom))
    reach = float(stats.t.ppf(1 - level, freedom)) * error
    return Equivalence(
        difference, difference - reach, difference + reach, max(p_low, p_high), margin, level, len(a), len(b)
    )
