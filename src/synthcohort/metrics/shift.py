"""Shift between two samples that hold several images of a patient: probability of superiority, weighted shares.

Everything is a mean over images, so its error follows from the patients' sums: no resampling, and fast enough to be
computed anew for hundreds of resamples. `owners`: which patient an image belongs to, as numbers 0 … G-1.
"""

from dataclasses import dataclass

import numpy as np
from scipy import stats

from synthcohort.metrics.intervals import Score


@dataclass(frozen=True)
class Estimate:
    """A value with its standard error."""

    value: float
    error: float

    def low(self, level: float) -> float:
        """One-sided lower bound: the truth lies below it with probability `level`."""
        return self.value - float(stats.norm.isf(level)) * self.error

    def high(self, level: float) -> float:
        """One-sided upper bound: the truth lies above it with probability `level`."""
        return self.value + float(stats.norm.isf(level)) * self.error

    def score(self, lowest: float = -np.inf, highest: float = np.inf, confidence: float = 0.95) -> Score:
        """With its two-sided interval, cut to what the figure can be."""
        if not np.isfinite(self.value):
            return Score(None)
        tail = (1 - confidence) / 2
        return Score(self.value, float(max(lowest, self.low(tail))), float(min(highest, self.high(tail))))

    def __sub__(self, other: "Estimate") -> "Estimate":
        """The difference of two independent estimates."""
        return Estimate(self.value - other.value, float(np.hypot(self.error, other.error)))


def mean_of(values: np.ndarray, owners: np.ndarray, weights: np.ndarray | None = None) -> Estimate:
    """Weighted mean and its error over patients; NaN without images, no finite error with a single patient."""
    values = np.asarray(values, np.float64)
    weights = np.ones(len(values)) if weights is None else np.asarray(weights, np.float64)
    total = weights.sum()
    if not total > 0:
        return Estimate(float("nan"), float("nan"))
    mean = float(weights @ values / total)
    return Estimate(mean, _error(weights * (values - mean) / total, owners))


def _error(parts: np.ndarray, owners: np.ndarray) -> float:
    """Standard error of a sum of influences, patient by patient."""
    index = np.unique(owners, return_inverse=True)[1].reshape(-1)
    sums = np.bincount(index, weights=parts)
    if len(sums) < 2:
        return float("inf")
    return float(np.sqrt(len(sums) / (len(sums) - 1) * np.square(sums).sum()))


def share_of(hits: np.ndarray, owners: np.ndarray, weights: np.ndarray | None = None) -> Estimate:
    """A share; its error is no smaller than that of a share with half a hit more and half a miss more."""
    found = mean_of(hits, owners, weights)
    if not np.isfinite(found.value):
        return found
    kept = np.ones(len(hits)) if weights is None else np.asarray(weights, np.float64)
    num = min(len(np.unique(owners)), float(kept.sum() ** 2 / np.square(kept).sum()))
    moved = (found.value * num + 0.5) / (num + 1)
    return Estimate(found.value, max(found.error, float(np.sqrt(moved * (1 - moved) / num))))


def superiority(
    *,
    reference: np.ndarray,
    sample: np.ndarray,
    reference_owners: np.ndarray,
    sample_owners: np.ndarray,
    reference_weights: np.ndarray | None = None,
) -> Estimate:
    """Probability that a value of the sample exceeds one of the reference, ties counting half: 0.5 without a shift.

    The area under the ROC curve of telling the sample from the (weighted) reference. Source: DeLong et al. 1988,
    placement values, summed by patient.
    """
    reference, sample = np.asarray(reference, np.float64), np.asarray(sample, np.float64)
    weights = np.ones(len(reference)) if reference_weights is None else np.asarray(reference_weights, np.float64)
    if not len(sample) or not weights.sum() > 0:
        return Estimate(float("nan"), float("nan"))
    order = np.argsort(reference, kind="stable")
    sums = np.concatenate([[0.0], np.cumsum(weights[order])])
    places = [sums[np.searchsorted(reference[order], sample, side)] for side in ("left", "right")]
    above = (places[0] + places[1]) / 2 / sums[-1]
    ranked = np.sort(sample)
    below = [np.searchsorted(ranked, reference, side) for side in ("left", "right")]
    exceeded = 1 - (below[0] + below[1]) / 2 / len(sample)
    first, second = mean_of(above, sample_owners), mean_of(exceeded, reference_owners, weights)
    least = 0.5 / np.sqrt(12 * max(len(np.unique(sample_owners)), 1))
    return Estimate(first.value, max(float(np.hypot(first.error, second.error)), float(least)))
