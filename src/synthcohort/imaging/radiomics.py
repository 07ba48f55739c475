"""Radiomic features of whole images: first-order statistics, gray-level co-occurrence, gray-level run lengths.

Definitions and names are those of the Image Biomarker Standardisation Initiative (IBSI reference manual, sections 3.3,
3.6 and 3.7; Zwanenburg et al. 2020), in two dimensions, with the four directions merged into one matrix (aggregation
"2D, merged directions"), distance 1, and a fixed number of bins between an image's least and greatest value.
Features that are functions of another one (sum average, cluster tendency, dissimilarity) are left out.

Legend: B images, L gray levels, P runs.
"""

from functools import lru_cache

import numpy as np

LEVELS = 32
FIRST_ORDER = (
    "mean", "variance", "skewness", "kurtosis", "median", "minimum", "p10", "p90", "maximum", "interquartile_range",
    "range", "mean_absolute_deviation", "robust_mean_absolute_deviation", "median_absolute_deviation",
    "root_mean_square", "entropy", "uniformity",
)  # fmt: skip
CO_OCCURRENCE = (
    "joint_maximum", "joint_average", "joint_variance", "joint_entropy", "difference_average", "difference_variance",
    "difference_entropy", "sum_variance", "sum_entropy", "angular_second_moment", "contrast", "inverse_difference",
    "normalized_inverse_difference", "inverse_difference_moment", "normalized_inverse_difference_moment",
    "inverse_variance", "correlation", "autocorrelation", "cluster_shade", "cluster_prominence",
    "information_correlation_1", "information_correlation_2",
)  # fmt: skip
RUN_LENGTH = (
    "short_runs", "long_runs", "low_gray_runs", "high_gray_runs", "short_low_gray_runs", "short_high_gray_runs",
    "long_low_gray_runs", "long_high_gray_runs", "gray_non_uniformity", "normalized_gray_non_uniformity",
    "run_length_non_uniformity", "normalized_run_length_non_uniformity", "run_percentage", "gray_variance",
    "run_length_variance", "run_entropy",
)  # fmt: skip
NAMES = (
    *(f"first_order_{name}" for name in FIRST_ORDER),
    *(f"co_occurrence_{name}" for name in CO_OCCURRENCE),
    *(f"run_length_{name}" for name in RUN_LENGTH),
)


def radiomics(images: np.ndarray, levels: int = LEVELS) -> np.ndarray:
    """The features in the order of NAMES: [B, 55] float64, finite for every image, also a constant one.

    images [B, rows, columns], on any one scale of intensities.
    """
    images = np.asarray(images, np.float64)
    if images.ndim != 3 or min(images.shape[1:]) < 2:
        raise ValueError(f"images of shape {images.shape}; needed: [B, rows, columns] of at least 2 × 2 pixels")
    gray = discretized(images, levels)
    parts = first_order(images, gray, levels), co_occurrence(gray, levels), run_length(gray, levels)
    return np.concatenate(parts, axis=1)


def discretized(images: np.ndarray, levels: int = LEVELS) -> np.ndarray:
    """Gray levels 1 … L between each image's own least and greatest value; a constant image has level 1."""
    low = images.min(axis=(1, 2), keepdims=True)
    span = images.max(axis=(1, 2), keepdims=True) - low
    scaled = np.where(span > 0, (images - low) / np.where(span > 0, span, 1), 0)
    # Values on the border of two levels belong to the upper one, however the intensities were scaled.
    return np.minimum((scaled * levels + 1e-9).astype(np.int64) + 1, levels)


def first_order(images: np.ndarray, gray: np.ndarray, levels: int = LEVELS) -> np.ndarray:
    """[B, 17]; skewness and kurtosis (less 3) of a constant image are 0."""
    x = images.reshape(len(images), -1)
    mean, variance = x.mean(axis=1), x.var(axis=1)
    safe = np.where(variance > 0, variance, 1)
    centered = x - mean[:, None]
    skewness = np.where(variance > 0, (centered**3).mean(axis=1) / safe**1.5, 0)
    kurtosis = np.where(variance > 0, (centered**4).mean(axis=1) / safe**2 - 3, 0)
    p10, p25, median, p75, p90 = np.percentile(x, [10, 25, 50, 75, 90], axis=1)
    middle = (x >= p10[:, None]) & (x <= p90[:, None])
    num = middle.sum(axis=1)
    robust_mean = np.where(middle, x, 0).sum(axis=1) / num
    robust = np.where(middle, np.abs(x - robust_mean[:, None]), 0).sum(axis=1) / num
    shares = _counts(gray.reshape(len(x), -1) - 1, levels) / x.shape[1]
    columns = [
        mean, variance, skewness, kurtosis, median, x.min(axis=1), p10, p90, x.max(axis=1), p75 - p25,
        np.ptp(x, axis=1), np.abs(centered).mean(axis=1), robust, np.abs(x - median[:, None]).mean(axis=1),
        np.sqrt((x**2).mean(axis=1)), _entropy(shares), (shares**2).sum(axis=1),
    ]  # fmt: skip
    return np.stack(columns, axis=1)


def co_occurrence_matrix(gray: np.ndarray, levels: int = LEVELS) -> np.ndarray:
    """Shares of pairs of neighbouring gray levels, symmetric, the four directions merged: [B, L, L]."""
    pairs = (
        (gray[:, :, :-1], gray[:, :, 1:]),
        (gray[:, :-1], gray[:, 1:]),
        (gray[:, :-1, :-1], gray[:, 1:, 1:]),
        (gray[:, :-1, 1:], gray[:, 1:, :-1]),
    )
    counts = np.zeros((len(gray), levels * levels))
    for first, second in pairs:
        cells = (first - 1) * levels + second - 1
        counts += _counts(cells.reshape(len(gray), -1), levels * levels)
    matrix = counts.reshape(-1, levels, levels)
    matrix = matrix + matrix.transpose(0, 2, 1)
    return matrix / matrix.sum(axis=(1, 2), keepdims=True)


def co_occurrence(gray: np.ndarray, levels: int = LEVELS) -> np.ndarray:
    """[B, 22]; of an image with one gray level the correlation is 1 and both information correlations are 0."""
    p = co_occurrence_matrix(gray, levels)
    level = np.arange(1, levels + 1)
    i, j = level[:, None], level[None, :]
    flat, marginal = p.reshape(len(p), -1), p.sum(axis=2)
    mean = marginal @ level
    variance = np.maximum(marginal @ (level**2.0) - mean**2, 0)
    apart = _by_key(flat, np.abs(i - j), levels)
    total = _by_key(flat, i + j - 2, 2 * levels - 1)
    difference, summed = np.arange(levels), np.arange(2, 2 * levels + 1)
    difference_mean, sum_mean = apart @ difference, total @ summed
    contrast = apart @ (difference**2.0)
    autocorrelation = (p * (i * j)).sum(axis=(1, 2))
    safe = np.where(variance > 0, variance, 1)
    correlation = np.where(variance > 0, (autocorrelation - mean**2) / safe, 1)
    away = i + j - 2 * mean[:, None, None]
    joint, single = _entropy(flat), _entropy(marginal)
    product = marginal[:, :, None] * marginal[:, None, :]
    cross = -(p * _log2(product)).sum(axis=(1, 2))
    information_1 = np.where(single > 0, (joint - cross) / np.where(single > 0, single, 1), 0)
    information_2 = np.sqrt(
        np.maximum(1 - np.exp(-2 * np.maximum(_entropy(product.reshape(flat.shape)) - joint, 0)), 0)
    )
    columns = [
        flat.max(axis=1), mean, variance, joint, difference_mean, apart @ (difference**2.0) - difference_mean**2,
        _entropy(apart), total @ (summed**2.0) - sum_mean**2, _entropy(total), (flat**2).sum(axis=1), contrast,
        apart @ (1 / (1 + difference)), apart @ (1 / (1 + difference / levels)), apart @ (1 / (1 + difference**2.0)),
        apart @ (1 / (1 + (difference / levels) ** 2)), apart[:, 1:] @ (1 / difference[1:] ** 2.0), correlation,
        autocorrelation, (p * away**3).sum(axis=(1, 2)), (p * away**4).sum(axis=(1, 2)), information_1, information_2,
    ]  # fmt: skip
    return np.stack(columns, axis=1)


@lru_cache(maxsize=16)
def _scan(rows: int, columns: int) -> tuple[np.ndarray, np.ndarray]:
    """Positions of the pixels along the lines of four directions, and where lines begin: [4 · rows · columns] each."""
    y, x = (grid.ravel() for grid in np.mgrid[:rows, :columns])
    orders, begins = [], []
    for line, along in ((y, x), (x, y), (y - x, x), (y + x, x)):
        order = np.lexsort((along, line))
        orders.append(order)
        begins.append(np.diff(line[order], prepend=line.min() - 1) != 0)
    return np.concatenate(orders), np.concatenate(begins)


def run_length(gray: np.ndarray, levels: int = LEVELS) -> np.ndarray:
    """[B, 16], from the runs of the four directions together."""
    num, rows, columns = gray.shape
    order, begins = _scan(rows, columns)
    line = gray.reshape(num, -1)[:, order]
    starts = np.empty(line.shape, bool)
    starts[:, 0] = True
    starts[:, 1:] = line[:, 1:] != line[:, :-1]
    starts |= begins
    at = np.flatnonzero(starts)
    lengths = np.diff(at, append=line.size)
    image, level = at // line.shape[1], line.ravel()[at]
    longest = max(rows, columns)
    cells = ((image * levels) + level - 1) * longest + lengths - 1
    runs = np.bincount(cells, minlength=num * levels * longest).reshape(num, levels, longest).astype(np.float64)
    total = runs.sum(axis=(1, 2))
    share = runs / total[:, None, None]
    i, j = np.arange(1.0, levels + 1)[:, None], np.arange(1.0, longest + 1)[None, :]
    by_gray, by_length = runs.sum(axis=2), runs.sum(axis=1)

    def mean(weight: np.ndarray) -> np.ndarray:
        return (share * weight).sum(axis=(1, 2))

    gray_sum, length_sum = (by_gray**2).sum(axis=1) / total, (by_length**2).sum(axis=1) / total
    columns_ = [
        mean(1 / j**2 + 0 * i), mean(j**2 + 0 * i), mean(1 / i**2 + 0 * j), mean(i**2 + 0 * j),
        mean(1 / (i * j) ** 2), mean(i**2 / j**2), mean(j**2 / i**2), mean((i * j) ** 2),
        gray_sum, gray_sum / total, length_sum, length_sum / total, total / line.shape[1],
        mean(i**2 + 0 * j) - mean(i + 0 * j) ** 2, mean(j**2 + 0 * i) - mean(j + 0 * i) ** 2,
        _entropy(share.reshape(num, -1)),
    ]  # fmt: skip
    return np.stack(columns_, axis=1)


def _counts(cells: np.ndarray, num: int) -> np.ndarray:
    """How often each of `num` numbers occurs in each row: [B, num] float64."""
    shifted = cells + num * np.arange(len(cells))[:, None]
    return np.bincount(shifted.ravel(), minlength=num * len(cells)).reshape(len(cells), num).astype(np.float64)


def _by_key(flat: np.ndarray, key: np.ndarray, num: int) -> np.ndarray:
    """Sums of the cells of a matrix with the same key: [B, num]."""
    members = np.zeros((key.size, num))
    members[np.arange(key.size), key.ravel()] = 1
    return flat @ members


def _log2(p: np.ndarray) -> np.ndarray:
    """Logarithm in which 0 stands for itself, as p · log p needs it."""
    return np.log2(np.where(p > 0, p, 1))


def _entropy(p: np.ndarray) -> np.ndarray:
    """Shannon's entropy in bits of each row."""
    return -(p * _log2(p)).sum(axis=1)
