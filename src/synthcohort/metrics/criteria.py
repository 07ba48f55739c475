"""The criteria of the FDA's scorecard that images can be measured by, from statistics of each image [N, K].

Congruence: are the statistics distributed alike? Coverage: is the real range reached? Constraint: how much lies outside
it? Consistency: is this so in every subgroup? (Completeness concerns records; compliance and comprehension concern
documents.) Source: the seven criteria of 10.1038/s44172-025-00450-1; the range is that of its toolbox, the 1st to 99th
percentile of the real values, statistic by statistic.
"""

from collections.abc import Sequence

import numpy as np

TAIL = 1.0  # percent


def usable(real: np.ndarray) -> np.ndarray:
    """The statistics that differ between real images at all: [K] bool."""
    return np.ptp(np.asarray(real, np.float64), axis=0) > 0


def congruence(*, real: np.ndarray, synthetic: np.ndarray) -> float:
    """1 less the Kolmogorov-Smirnov distance, mean over the statistics: 1 for equal ones, 0 for separate ones."""
    return float(np.mean([1 - _apart(a, b) for a, b in zip(real.T, synthetic.T, strict=True)]))


def _apart(a: np.ndarray, b: np.ndarray) -> float:
    a, b = np.sort(a), np.sort(b)
    both = np.concatenate([a, b])
    first = np.searchsorted(a, both, side="right") / len(a)
    return float(np.abs(first - np.searchsorted(b, both, side="right") / len(b)).max())


def range_coverage(*, real: np.ndarray, synthetic: np.ndarray) -> float:
    """Share of the real range (1st to 99th percentile) that the synthetic range reaches, mean over the statistics."""
    a_low, a_high = np.percentile(real, [TAIL, 100 - TAIL], axis=0)
    b_low, b_high = np.percentile(synthetic, [TAIL, 100 - TAIL], axis=0)
    width = a_high - a_low
    reached = np.maximum(np.minimum(a_high, b_high) - np.maximum(a_low, b_low), 0)
    counted = width > 0
    return float((reached[counted] / width[counted]).mean()) if counted.any() else float("nan")


def constraint(*, real: np.ndarray, synthetic: np.ndarray) -> float:
    """Share of synthetic values outside the real 1st to 99th percentile, mean over the statistics; real: 0.02."""
    low, high = np.percentile(real, [TAIL, 100 - TAIL], axis=0)
    return float(((synthetic < low) | (synthetic > high)).mean())


def consistency(
    *, real: np.ndarray, synthetic: np.ndarray, real_groups: np.ndarray, synthetic_groups: np.ndarray
) -> float:
    """Best less worst congruence among the subgroups both sides have (numbers >= 0); NaN for fewer than two."""
    shared = np.intersect1d(real_groups[real_groups >= 0], synthetic_groups[synthetic_groups >= 0])
    if len(shared) < 2:
        return float("nan")
    values = [
        congruence(real=real[real_groups == group], synthetic=synthetic[synthetic_groups == group]) for group in shared
    ]
    return float(max(values) - min(values))


def completeness(real: Sequence[Sequence[object]], synthetic: Sequence[Sequence[object]]) -> float:
    """Share of filled cells of the synthetic records, over the fields that are mostly filled in the real ones.

    Fields are given as columns, in the same order on both sides; NaN when no field is mostly filled.
    """
    wanted = [
        number for number, column in enumerate(real) if sum(value is not None for value in column) > len(column) / 2
    ]
    if not wanted:
        return float("nan")
    filled = [sum(value is not None for value in synthetic[number]) / len(synthetic[number]) for number in wanted]
    return float(np.mean(filled))
