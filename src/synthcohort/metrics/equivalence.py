"""Clinical equivalence of a measurement: is the difference of means shown to be smaller than a stated margin?"""

import numpy as np
from scipy import stats

from synthcohort.metrics.intervals import group_index
from synthcohort.metrics.readers_equivalence import Equivalence, tost
from synthcohort.metrics.readers_mrmc import Estimate
from synthcohort.metrics.scored import Groups


def patient_means(values: np.ndarray, groups: Groups | None = None) -> np.ndarray:
    """The mean of each patient's finite values: images of one patient are one observation."""
    values = np.asarray(values, np.float64)
    index = np.arange(len(values)) if groups is None else group_index(groups)
    finite = np.isfinite(values)
    counts = np.bincount(index[finite], minlength=1)
    sums = np.bincount(index[finite], values[finite], minlength=1)
    return sums[counts > 0] / counts[counts > 0]


def mean_difference(
    *,
    real: np.ndarray,
    synthetic: np.ndarray,
    real_patients: Groups | None = None,
    synthetic_patients: Groups | None = None,
    confidence: float = 0.95,
) -> Estimate:
    """Synthetic less real mean over patients, with Welch's standard error and degrees of freedom.

    Values that are not finite (not measurable) are left out. Raises ValueError for fewer than two patients on a side.
    Source: Welch 1947.
    """
    a, b = patient_means(real, real_patients), patient_means(synthetic, synthetic_patients)
    if min(len(a), len(b)) < 2:
        raise ValueError(f"{len(a)} real and {len(b)} synthetic patients with a measurement; needed: 2 or more each")
    parts = np.array([a.var(ddof=1) / len(a), b.var(ddof=1) / len(b)])
    error, difference = float(np.sqrt(parts.sum())), float(b.mean() - a.mean())
    if error == 0:
        return Estimate(difference, 0.0, float("inf"), difference, difference)
    freedom = float(parts.sum() ** 2 / (parts**2 / (len(a) - 1, len(b) - 1)).sum())
    reach = float(stats.t.ppf((1 + confidence) / 2, freedom)) * error
    return Estimate(difference, error, freedom, difference - reach, difference + reach)


def equivalence(
    *,
    real: np.ndarray,
    synthetic: np.ndarray,
    margin: float,
    alpha: float = 0.05,
    real_patients: Groups | None = None,
    synthetic_patients: Groups | None = None,
) -> Equivalence:
    """Two one-sided tests by patient: are the mean measurements within ± margin of each other?

    real [N], synthetic [M] in the unit of the margin. Worked example: a function that finds the joint space of a knee
    phantom in millimeters, margin 0.5 mm, real and synthetic radiographs of the same severities are equivalent;
    synthetic ones of a narrower joint are not (tests/evaluation/test_measurements.py).
    Raises ValueError for a margin that is not positive and for fewer than two patients on a side.
    """
    found = mean_difference(
        real=real, synthetic=synthetic, real_patients=real_patients, synthetic_patients=synthetic_patients
    )
    return tost(found, margin, alpha)
