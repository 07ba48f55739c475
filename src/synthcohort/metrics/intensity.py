"""Intensities and spectra of sets of images, from their mean histograms [K] and mean log power spectra [K].

A histogram holds shares of pixels in equal bins of the range of intensities; it sums to 1.
"""

import numpy as np
from scipy import stats


def histogram_distance(*, real: np.ndarray, synthetic: np.ndarray) -> float:
    """1-Wasserstein distance of two histograms in percent of the range of intensities.

    How far, on average, intensity has to be moved to turn one histogram into the other. Histograms of several channels
    are given one after the other as rows [C, K]; the mean over channels is returned.
    """
    real, synthetic = np.atleast_2d(real), np.atleast_2d(synthetic)
    return float(100 * np.abs(np.cumsum(real - synthetic, axis=-1)).sum(axis=-1).mean() / real.shape[-1])


def outside_share(*, real: np.ndarray, synthetic: np.ndarray, tail: float = 0.001) -> float:
    """Share of synthetic intensities outside the bins that hold the real ones, `tail` at both ends left out."""
    real, synthetic = np.atleast_2d(real), np.atleast_2d(synthetic)
    below = np.cumsum(real, axis=-1)
    above = np.cumsum(real[..., ::-1], axis=-1)[..., ::-1]
    inside = (below > tail) & (above > tail)
    return float((synthetic * ~inside).sum(axis=-1).mean())


def value_distance(*, real: np.ndarray, synthetic: np.ndarray) -> float:
    """1-Wasserstein distance of two samples [N], [M] of one number, in standard deviations of the real; NaN at 0."""
    spread = float(np.std(real))
    return float(stats.wasserstein_distance(real, synthetic)) / spread if spread > 0 else float("nan")


def spectral_gap(*, real: np.ndarray, synthetic: np.ndarray) -> float:
    """Mean absolute difference of two mean log power spectra [rings] in decibels."""
    return float(np.abs(np.asarray(synthetic) - np.asarray(real)).mean())


def band_difference(*, real: np.ndarray, synthetic: np.ndarray, low: float, high: float) -> float:
    """How much more power synthetic images have in the part `low` to `high` (0 to 1) of the rings, in decibels.

    Negative in the high band: the images are blurred. Positive: they are noisy. NaN when no ring lies inside.
    """
    rings = len(real)
    middle = (np.arange(rings) + 0.5) / rings
    inside = (middle >= low) & (middle < high)
    return float((np.asarray(synthetic) - np.asarray(real))[inside].mean()) if inside.any() else float("nan")
