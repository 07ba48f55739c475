"""Agreement within and between readers: weighted κ, Fleiss' κ, Krippendorff's α, ICC, each with its interval.

Grades are numbers 0 … K−1, in order where their distance means something; `grades` is [J, C] of J readers and C cases
and NaN marks a case that a reader did not grade. Intervals come from the jackknife over cases on the scale of
Fisher's z, so they speak of other cases and of these readers.
"""

import math
from itertools import combinations
from typing import Literal

import numpy as np
from scipy import stats

from synthcohort.metrics.classification import confusion
from synthcohort.metrics.intervals import Score, jackknife_error

Weights = Literal["none", "linear", "quadratic"]


def weight_matrix(num_classes: int, weights: Weights) -> np.ndarray:
    """Disagreement of each pair of classes, [K, K]: 0 on the diagonal, 1 for the farthest apart."""
    away = np.abs(np.subtract.outer(np.arange(num_classes), np.arange(num_classes))).astype(np.float64)
    if weights == "none":
        return (away > 0).astype(np.float64)
    return (away / max(1, num_classes - 1)) ** (1 if weights == "linear" else 2)


def weighted_kappa(
    first: np.ndarray, second: np.ndarray, num_classes: int, weights: Weights = "quadratic", confidence: float = 0.95
) -> Score:
    """Cohen's κ of two gradings [C] of the same cases. Source: Cohen 1968."""
    first, second = _both(first, second)
    if len(first) == 0:
        return Score(None)
    matrix = weight_matrix(num_classes, weights)
    counts = confusion(truth=first, predicted=second, num_classes=num_classes).astype(np.float64)
    left_out = np.empty(len(first))
    for row, column in np.argwhere(counts > 0):
        counts[row, column] -= 1
        left_out[(first == row) & (second == column)] = _kappa(counts, matrix)
        counts[row, column] += 1
    chance = (np.outer(counts.sum(1), counts.sum(0)) * matrix).sum() / counts.sum() ** 2
    return _interval(_kappa(counts, matrix), left_out, chance, confidence)


def mean_weighted_kappa(
    grades: np.ndarray, num_classes: int, weights: Weights = "quadratic", confidence: float = 0.95
) -> Score:
    """Mean of all pairs of readers (Light's κ) over the cases that all have graded."""
    grades = complete(grades)
    num, count = grades.shape
    if num < 2 or count == 0:
        return Score(None)
    matrix = weight_matrix(num_classes, weights)
    values, left_out, chances = [], np.zeros((num * (num - 1) // 2, count)), []
    for pair, (i, j) in enumerate(combinations(range(num), 2)):
        counts = confusion(truth=grades[i], predicted=grades[j], num_classes=num_classes).astype(np.float64)
        values.append(_kappa(counts, matrix))
        chances.append((np.outer(counts.sum(1), counts.sum(0)) * matrix).sum() / counts.sum() ** 2)
        for row, column in np.argwhere(counts > 0):
            counts[row, column] -= 1
            left_out[pair, (grades[i] == row) & (grades[j] == column)] = _kappa(counts, matrix)
            counts[row, column] += 1
    return _interval(float(np.mean(values)), left_out.mean(axis=0), float(np.mean(chances)), confidence)


def fleiss_kappa(grades: np.ndarray, num_classes: int, confidence: float = 0.95) -> Score:
    """Agreement of J readers on unordered classes, over the cases that all have graded. Source: Fleiss 1971."""
    grades = complete(grades)
    num, count = grades.shape
    if num < 2 or count == 0:
        return Score(None)
    votes = np.stack([(grades == k).sum(axis=0) for k in range(num_classes)], axis=1).astype(np.float64)
    agreed = ((votes**2).sum(axis=1) - num) / (num * (num - 1))

    def value(agreed_sum: np.ndarray, totals: np.ndarray, cases: float) -> np.ndarray:
        by_chance = ((totals / (cases * num)[..., None]) ** 2).sum(axis=-1)
        return _ratio(1 - agreed_sum / cases, 1 - by_chance)

    totals = votes.sum(axis=0)
    whole = value(agreed.sum(), totals, np.asarray(float(count)))  # type: ignore[arg-type]
    left_out = value(agreed.sum() - agreed, totals - votes, np.full(count, count - 1.0))  # type: ignore[arg-type]
    chance = 1 - ((totals / totals.sum()) ** 2).sum()
    return _interval(float(whole), left_out, float(chance), confidence)


def krippendorff_alpha(
    grades: np.ndarray, num_classes: int, level: Literal["nominal", "interval"] = "nominal", confidence: float = 0.95
) -> Score:
    """α of J readers; cases with one grade or none do not count. Source: Krippendorff 2011, by coincidences."""
    grades = np.atleast_2d(np.asarray(grades, np.float64))
    votes = np.stack([(grades == k).sum(axis=0) for k in range(num_classes)], axis=1).astype(np.float64)
    votes = votes[votes.sum(axis=1) >= 2]
    if len(votes) < 2:
        return Score(None)
    matrix = weight_matrix(num_classes, "none" if level == "nominal" else "quadratic")
    given = votes.sum(axis=1)
    disagreed = np.einsum("ck,kl,cl->c", votes, matrix, votes) / (given - 1)
    totals = votes.sum(axis=0)

    def value(observed: np.ndarray, sums: np.ndarray) -> np.ndarray:
        n = sums.sum(axis=-1)
        expected = np.einsum("...k,kl,...l->...", sums, matrix, sums) / (n - 1)
        return _ratio(observed, expected)

    whole = float(value(disagreed.sum(), totals))
    left_out = value(disagreed.sum() - disagreed, totals - votes)
    n = totals.sum()
    return _interval(whole, left_out, float(totals @ matrix @ totals / n / n), confidence)


def icc(grades: np.ndarray, confidence: float = 0.95) -> Score:
    """ICC(2,1): absolute agreement of single grades, readers and cases both drawn at random.

    The interval is the jackknife's over cases: grades are few and skewed, and F intervals assume normal ones.
    Source: Shrout and Fleiss 1979.
    """
    grades = complete(grades).astype(np.float64)
    num, count = grades.shape
    if num < 2 or count < 3:
        return Score(None)
    by_case, by_reader, squares = grades.sum(axis=0), grades.sum(axis=1), (grades**2).sum(axis=0)

    def value(cases: float, case_squares: np.ndarray, reader_sums: np.ndarray, all_squares: np.ndarray) -> np.ndarray:
        total = reader_sums.sum(axis=-1)
        middle = total**2 / (num * cases)
        rows = (case_squares / num - middle) / (cases - 1)
        columns_sum = (reader_sums**2).sum(axis=-1) / cases - middle
        rest = (all_squares - middle - rows * (cases - 1) - columns_sum) / ((cases - 1) * (num - 1))
        columns = columns_sum / (num - 1)
        return _ratio(rows - rest, rows + (num - 1) * rest + num * (columns - rest) / cases, plain=True)

    whole = float(value(count, (by_case**2).sum(), by_reader, squares.sum()))
    left_out = value(
        count - 1, (by_case**2).sum() - by_case**2, (by_reader[:, None] - grades).T, squares.sum() - squares
    )
    return _interval(whole, left_out, None, confidence)


def complete(grades: np.ndarray) -> np.ndarray:
    """The cases that every reader has graded, as whole numbers [J, C′]."""
    grades = np.atleast_2d(np.asarray(grades, np.float64))
    return grades[:, np.isfinite(grades).all(axis=0)].astype(np.int64)


def _both(first: np.ndarray, second: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    first, second = complete(np.stack([np.asarray(first, np.float64), np.asarray(second, np.float64)]))
    return first, second


def _kappa(counts: np.ndarray, matrix: np.ndarray) -> float:
    total = counts.sum()
    if not total:
        return float("nan")
    expected = (np.outer(counts.sum(axis=1), counts.sum(axis=0)) * matrix).sum() / total
    return float(1 - (counts * matrix).sum() / expected) if expected > 0 else float("nan")


def _ratio(observed: np.ndarray, expected: np.ndarray, plain: bool = False) -> np.ndarray:
    """1 − observed / expected (or the plain ratio), NaN where nothing is expected."""
    observed, expected = np.asarray(observed, np.float64), np.asarray(expected, np.float64)
    ratio = np.divide(observed, expected, out=np.full(np.shape(expected), np.nan), where=expected > 0)
    return ratio if plain else 1 - ratio


def _interval(value: float, left_out: np.ndarray, chance: float | None, confidence: float) -> Score:
    """Fisher's z of the coefficient, its jackknife error there, t quantile.

    Perfect agreement has no spread: then the low end is the coefficient at the greatest rate of (full) disagreement
    that so many cases without one allow.
    """
    count = len(left_out)
    if not math.isfinite(value):
        return Score(None)
    if count < 3 or not np.isfinite(left_out).all():
        return Score(value)
    if value >= 1 - 1e-12:
        rate = 1 - ((1 - confidence) / 2) ** (1 / count)
        return Score(1.0, max(-1.0, 1 - rate / chance) if chance else None, 1.0 if chance else None)
    edge = 1 - 1e-9
    z = math.atanh(max(-edge, min(edge, value)))
    pseudo = np.arctanh(np.clip(left_out, -edge, edge))
    error = jackknife_error(pseudo)
    if not error > 1e-12:  # a reader who always says the same
        return Score(value)
    half = float(stats.t.ppf((1 + confidence) / 2, count - 1)) * error
    return Score(value, math.tanh(z - half), math.tanh(z + half))
