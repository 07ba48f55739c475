"""Intervals by leaving folds of patients out, for any statistic of the rows of both sides (docs/decisions/0010)."""

from collections.abc import Callable

import numpy as np

from synthcohort.metrics.intervals import Score, jackknife_interval
from synthcohort.metrics.scored import Sample

OfMeans = Callable[[np.ndarray, np.ndarray], float]


def of_means(
    statistic: OfMeans,
    *,
    real: Sample,
    synthetic: Sample,
    lowest: float = -np.inf,
    highest: float = np.inf,
    confidence: float = 0.95,
) -> Score:
    """A statistic of the mean rows [K] of both sides; means without a fold follow from sums, so this is cheap."""
    a, a_without = _means(real)
    b, b_without = _means(synthetic)
    parts = (
        np.array([statistic(mean, b) for mean in a_without]),
        np.array([statistic(a, mean) for mean in b_without]),
    )
    return jackknife_interval(statistic(a, b), *parts, confidence=confidence, lowest=lowest, highest=highest)


def of_sets(
    statistic: OfMeans,
    *,
    real: Sample,
    synthetic: Sample,
    lowest: float = -np.inf,
    highest: float = np.inf,
    confidence: float = 0.95,
) -> Score:
    """A statistic of the rows [N, K] and [M, K] themselves, computed anew without each fold."""
    a, b = real.features, synthetic.features
    parts = (
        np.array([statistic(a[real.folds != fold], b) for fold in range(int(real.folds.max()) + 1)]),
        np.array([statistic(a, b[synthetic.folds != fold]) for fold in range(int(synthetic.folds.max()) + 1)]),
    )
    return jackknife_interval(statistic(a, b), *parts, confidence=confidence, lowest=lowest, highest=highest)


def of_set(
    statistic: Callable[[np.ndarray], float],
    sample: Sample,
    *,
    lowest: float = -np.inf,
    highest: float = np.inf,
    confidence: float = 0.95,
) -> Score:
    """A statistic of one side's rows."""
    rows, folds = sample.features, sample.folds
    part = np.array([statistic(rows[folds != fold]) for fold in range(int(folds.max()) + 1)])
    return jackknife_interval(statistic(rows), part, confidence=confidence, lowest=lowest, highest=highest)


def _means(sample: Sample) -> tuple[np.ndarray, np.ndarray]:
    """The mean row [K], and the mean row without each fold [G, K]."""
    rows, folds = sample.features, sample.folds
    num_folds = int(folds.max()) + 1
    counts = np.bincount(folds, minlength=num_folds).astype(np.float64)
    sums = np.stack([rows[folds == fold].sum(axis=0) for fold in range(num_folds)])
    kept = len(rows) - counts
    with np.errstate(invalid="ignore", divide="ignore"):  # a single fold leaves nothing: no interval
        without = (sums.sum(axis=0) - sums) / kept[:, None]
    return sums.sum(axis=0) / len(rows), without
