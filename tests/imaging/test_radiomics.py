"""Slow references written from the formulas of the IBSI reference manual."""

import numpy as np
import pytest
from scipy import stats

from synthcohort.imaging.radiomics import (
    CO_OCCURRENCE,
    FIRST_ORDER,
    NAMES,
    RUN_LENGTH,
    co_occurrence,
    co_occurrence_matrix,
    discretized,
    first_order,
    radiomics,
    run_length,
)

LEVELS = 6
DIRECTIONS = ((0, 1), (1, 0), (1, 1), (1, -1))


@pytest.fixture
def gray():
    return np.random.default_rng(0).integers(1, LEVELS + 1, (3, 7, 9))


def slow_pairs(image):
    counts = np.zeros((LEVELS + 1, LEVELS + 1))
    for dy, dx in DIRECTIONS:
        for y in range(image.shape[0]):
            for x in range(image.shape[1]):
                if 0 <= y + dy < image.shape[0] and 0 <= x + dx < image.shape[1]:
                    counts[image[y, x], image[y + dy, x + dx]] += 1
                    counts[image[y + dy, x + dx], image[y, x]] += 1
    return counts[1:, 1:] / counts.sum()


def slow_co_occurrence(image):
    p = slow_pairs(image)
    n = range(1, LEVELS + 1)
    cells = [(i, j, p[i - 1, j - 1]) for i in n for j in n]
    px = {i: sum(v for a, _, v in cells if a == i) for i in n}
    mu = sum(i * v for i, v in px.items())
    var = sum((i - mu) ** 2 * v for i, v in px.items())
    diff = {k: sum(v for i, j, v in cells if abs(i - j) == k) for k in range(LEVELS)}
    plus = {k: sum(v for i, j, v in cells if i + j == k) for k in range(2, 2 * LEVELS + 1)}

    def entropy(values):
        return -sum(v * np.log2(v) for v in values if v > 0)

    d_mean, s_mean = sum(k * v for k, v in diff.items()), sum(k * v for k, v in plus.items())
    hxy, hx = entropy(v for *_, v in cells), entropy(px.values())
    hxy1 = -sum(v * np.log2(px[i] * px[j]) for i, j, v in cells if v > 0)
    hxy2 = entropy(px[i] * px[j] for i in n for j in n)
    values = {
        "joint_maximum": p.max(), "joint_average": mu, "joint_variance": var, "joint_entropy": hxy,
        "difference_average": d_mean, "difference_variance": sum((k - d_mean) ** 2 * v for k, v in diff.items()),
        "difference_entropy": entropy(diff.values()),
        "sum_variance": sum((k - s_mean) ** 2 * v for k, v in plus.items()), "sum_entropy": entropy(plus.values()),
        "angular_second_moment": sum(v * v for *_, v in cells), "contrast": sum((i - j) ** 2 * v for i, j, v in cells),
        "inverse_difference": sum(v / (1 + abs(i - j)) for i, j, v in cells),
        "normalized_inverse_difference": sum(v / (1 + abs(i - j) / LEVELS) for i, j, v in cells),
        "inverse_difference_moment": sum(v / (1 + (i - j) ** 2) for i, j, v in cells),
        "normalized_inverse_difference_moment": sum(v / (1 + (i - j) ** 2 / LEVELS**2) for i, j, v in cells),
        "inverse_variance": sum(v / (i - j) ** 2 for i, j, v in cells if i != j),
        "correlation": sum((i - mu) * (j - mu) * v for i, j, v in cells) / var,
        "autocorrelation": sum(i * j * v for i, j, v in cells),
        "cluster_shade": sum((i + j - 2 * mu) ** 3 * v for i, j, v in cells),
        "cluster_prominence": sum((i + j - 2 * mu) ** 4 * v for i, j, v in cells),
        "information_correlation_1": (hxy - hxy1) / hx,
        "information_correlation_2": np.sqrt(1 - np.exp(-2 * (hxy2 - hxy))),
    }  # fmt: skip
    return [values[name] for name in CO_OCCURRENCE]


def slow_runs(image):
    """Runs by walking along every line: a list of (gray level, length)."""
    runs, (rows, columns) = [], image.shape
    for dy, dx in DIRECTIONS:
        for y in range(rows):
            for x in range(columns):
                if 0 <= y - dy < rows and 0 <= x - dx < columns and image[y - dy, x - dx] == image[y, x]:
                    continue  # not the first of its run
                length, a, b = 0, y, x
                while 0 <= a < rows and 0 <= b < columns and image[a, b] == image[y, x]:
                    length, a, b = length + 1, a + dy, b + dx
                runs.append((int(image[y, x]), length))
    return runs


def slow_run_length(image):
    runs = slow_runs(image)
    g, r = (np.array(column, float) for column in zip(*runs, strict=True))
    num, pixels = len(runs), 4 * image.size
    counts = {run: runs.count(run) / num for run in set(runs)}
    per_gray = sum(np.sum(g == level) ** 2 for level in set(g))
    per_length = sum(np.sum(r == length) ** 2 for length in set(r))
    values = {
        "short_runs": np.mean(1 / r**2), "long_runs": np.mean(r**2), "low_gray_runs": np.mean(1 / g**2),
        "high_gray_runs": np.mean(g**2), "short_low_gray_runs": np.mean(1 / (g * r) ** 2),
        "short_high_gray_runs": np.mean(g**2 / r**2), "long_low_gray_runs": np.mean(r**2 / g**2),
        "long_high_gray_runs": np.mean(g**2 * r**2), "gray_non_uniformity": per_gray / num,
        "normalized_gray_non_uniformity": per_gray / num**2, "run_length_non_uniformity": per_length / num,
        "normalized_run_length_non_uniformity": per_length / num**2, "run_percentage": num / pixels,
        "gray_variance": g.var(), "run_length_variance": r.var(),
        "run_entropy": -sum(v * np.log2(v) for v in counts.values()),
    }  # fmt: skip
    return [values[name] for name in RUN_LENGTH]


def test_textures_equal_the_manuals_formulas(gray):
    co, runs = co_occurrence(gray, LEVELS), run_length(gray, LEVELS)
    for number, image in enumerate(gray):
        assert co_occurrence_matrix(gray, LEVELS)[number] == pytest.approx(slow_pairs(image), rel=1e-12)
        assert co[number] == pytest.approx(slow_co_occurrence(image), rel=1e-9, abs=1e-12)
        assert runs[number] == pytest.approx(slow_run_length(image), rel=1e-9)


def test_first_order_equals_scipy():
    images = np.random.default_rng(1).gamma(2.0, size=(2, 12, 15))
    found = first_order(images, discretized(images))
    for x, row in zip(images.reshape(2, -1), found, strict=True):
        p10, p90 = np.percentile(x, [10, 90])
        middle = x[(x >= p10) & (x <= p90)]
        shares = np.bincount(np.minimum(((x - x.min()) / np.ptp(x) * 32).astype(int), 31)) / len(x)
        expected = {
            "mean": x.mean(), "variance": x.var(), "skewness": stats.skew(x), "kurtosis": stats.kurtosis(x),
            "median": np.median(x), "minimum": x.min(), "p10": p10, "p90": p90, "maximum": x.max(),
            "interquartile_range": stats.iqr(x), "range": np.ptp(x),
            "mean_absolute_deviation": np.abs(x - x.mean()).mean(),
            "robust_mean_absolute_deviation": np.abs(middle - middle.mean()).mean(),
            "median_absolute_deviation": np.abs(x - np.median(x)).mean(),
            "root_mean_square": np.sqrt((x**2).mean()), "entropy": stats.entropy(shares, base=2),
            "uniformity": (shares**2).sum(),
        }  # fmt: skip
        assert row == pytest.approx([expected[name] for name in FIRST_ORDER], rel=1e-9)


def test_batches_do_not_matter_and_constant_images_are_finite():
    images = np.random.default_rng(2).random((5, 16, 16))
    images[2] = 0.4
    whole = radiomics(images)
    assert whole.shape == (5, len(NAMES))
    assert np.isfinite(whole).all()
    single = np.concatenate([radiomics(images[i : i + 1]) for i in range(5)])
    assert single == pytest.approx(whole, rel=1e-12, abs=1e-15)


def test_images_without_neighbours_are_refused():
    with pytest.raises(ValueError, match="at least 2 × 2"):
        radiomics(np.zeros((1, 1, 8)))
