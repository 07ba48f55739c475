"""ROC curves of ratings: the empirical one and the binormal one, their areas and intervals."""

import math
from dataclasses import dataclass

import numpy as np
from scipy import optimize, stats

from synthcohort.metrics.intervals import Score, clopper_pearson, jackknife_error


def points(*, truth: np.ndarray, ratings: np.ndarray) -> np.ndarray:
    """The corners of the empirical curve, [P, 2] of false and true positive share, from (0, 0) to (1, 1).

    truth [C] bool; ratings [C], higher means more like the signal.
    """
    truth, ratings = _checked(truth, ratings)
    corners = [(0.0, 0.0)]
    for threshold in np.unique(ratings)[::-1]:
        above = ratings >= threshold
        corners.append((float(above[~truth].mean()), float(above[truth].mean())))
    return np.array(corners)


def area(*, truth: np.ndarray, ratings: np.ndarray) -> float:
    """Area under the empirical curve; ties count half (Mann and Whitney)."""
    truth, ratings = _checked(truth, ratings)
    return float(_wins(ratings[truth], ratings[~truth]).mean())


def area_left_out(*, truth: np.ndarray, ratings: np.ndarray) -> np.ndarray:
    """The area without each case in turn: [C]. Both kinds need two cases at least."""
    truth, ratings = _checked(truth, ratings)
    if min(truth.sum(), (~truth).sum()) < 2:
        raise ValueError("two cases of each kind are needed to leave one out")
    wins = _wins(ratings[truth], ratings[~truth])
    num_signal, num_noise = wins.shape
    result = np.empty(len(truth))
    result[truth] = (wins.sum() - wins.sum(axis=1)) / ((num_signal - 1) * num_noise)
    result[~truth] = (wins.sum() - wins.sum(axis=0)) / (num_signal * (num_noise - 1))
    return result


def area_score(*, truth: np.ndarray, ratings: np.ndarray, confidence: float = 0.95) -> Score:
    """One reader's area with its interval over cases, made on the logit scale so that it stays inside 0 and 1.

    An area of 0 or 1 gets the exact binomial bound of as many cases as the rarer kind has.
    """
    truth, ratings = _checked(truth, ratings)
    value = area(truth=truth, ratings=ratings)
    fewer = int(min(truth.sum(), (~truth).sum()))
    if fewer < 2:
        return Score(value)
    if value in (0.0, 1.0):
        return Score(value, *clopper_pearson(value * fewer, fewer, confidence))
    error = jackknife_error(area_left_out(truth=truth, ratings=ratings)) / (value * (1 - value))
    if not error > 1e-12:  # a reader who always says the same
        return Score(value)
    half = float(stats.t.ppf((1 + confidence) / 2, len(truth) - 2)) * error
    middle = math.log(value / (1 - value))
    return Score(value, _logistic(middle - half), _logistic(middle + half))


@dataclass(frozen=True)
class Binormal:
    """TPF = Φ(a + b Φ⁻¹(FPF)); `area` = Φ(a / √(1 + b²)) with its interval from the curvature of the likelihood."""

    a: float
    b: float
    area: Score

    def curve(self, false_positive: np.ndarray) -> np.ndarray:
        """True positive shares at these false positive shares."""
        return np.asarray(stats.norm.cdf(self.a + self.b * stats.norm.ppf(false_positive)))


def binormal(*, truth: np.ndarray, ratings: np.ndarray, confidence: float = 0.95) -> Binormal | None:
    """The binormal curve of greatest likelihood; None where ratings are too few or separate the kinds (degenerate).

    Ratings are categories, at most 20 of them (finer ones are put together).
    Source: Dorfman and Alf 1969; degenerate data sets: Metz 1989.
    """
    truth, ratings = _checked(truth, ratings)
    noise, signal = _category_counts(truth, ratings)
    if len(noise) < 3 or ((noise > 0) & (signal > 0)).sum() < 2:
        return None
    rates = np.cumsum(noise[:-1] + 0.5) / (noise.sum() + 0.5 * len(noise))
    cuts = stats.norm.ppf(rates)
    misses = stats.norm.ppf(np.cumsum(signal[:-1] + 0.5) / (signal.sum() + 0.5 * len(signal)))
    slope, intercept = np.polyfit(cuts, misses, 1)
    start = np.concatenate([[-intercept, math.log(max(slope, 0.05))], cuts[:1], np.log(np.diff(cuts))])

    found = optimize.minimize(_negative_log_likelihood, start, args=(noise, signal), method="BFGS")
    a, log_b = found.x[:2]
    if not np.isfinite(found.fun) or abs(log_b) > 3 or abs(a) > 8:
        return None
    curvature = _hessian(lambda x: _negative_log_likelihood(x, noise, signal), found.x)
    try:
        covariance = np.linalg.inv(curvature)[:2, :2]
    except np.linalg.LinAlgError:
        return None
    b = math.exp(log_b)
    root = math.sqrt(1 + b * b)
    slope_of = np.array([1 / root, -a * b * b / root**3])  # of z = a / √(1 + b²) by a and log b
    variance = float(slope_of @ covariance @ slope_of)
    z = a / root
    if not variance > 0:
        return Binormal(float(a), b, Score(float(stats.norm.cdf(z))))
    half = float(stats.norm.ppf((1 + confidence) / 2)) * math.sqrt(variance)
    value, low, high = (float(stats.norm.cdf(x)) for x in (z, z - half, z + half))
    return Binormal(float(a), b, Score(value, low, high))


def _category_counts(truth: np.ndarray, ratings: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    values = np.unique(ratings)
    if len(values) > 20:
        edges = np.unique(np.quantile(ratings, np.linspace(0, 1, 21)[1:-1]))
        ratings = np.searchsorted(edges, ratings, side="right")
        values = np.unique(ratings)
    index = np.searchsorted(values, ratings)
    return (
        np.bincount(index[~truth], minlength=len(values)).astype(float),
        np.bincount(index[truth], minlength=len(values)).astype(float),
    )


def _negative_log_likelihood(x: np.ndarray, noise: np.ndarray, signal: np.ndarray) -> float:
    """x = a, log b, the lowest cut, and the logarithms of the steps between cuts."""
    with np.errstate(over="ignore", invalid="ignore"):
        cuts = np.concatenate([[-np.inf], x[2] + np.concatenate([[0.0], np.cumsum(np.exp(x[3:]))]), [np.inf]])
        p_noise = np.diff(stats.norm.cdf(cuts))
        p_signal = np.diff(stats.norm.cdf(np.exp(x[1]) * cuts - x[0]))
        value = -(noise @ np.log(np.maximum(p_noise, 1e-12)) + signal @ np.log(np.maximum(p_signal, 1e-12)))
    return float(value) if np.isfinite(value) else 1e12


def _hessian(function, x: np.ndarray, step: float = 1e-3) -> np.ndarray:  # type: ignore[no-untyped-def]
    size = len(x)
    unit = np.eye(size) * step
    result = np.empty((size, size))
    for i in range(size):
        for j in range(i, size):
            sides = [s * t * function(x + s * unit[i] + t * unit[j]) for s in (1, -1) for t in (1, -1)]
            result[i, j] = result[j, i] = sum(sides) / (4 * step * step)
    return result


def _wins(signal: np.ndarray, noise: np.ndarray) -> np.ndarray:
    difference = signal[:, None] - noise[None, :]
    return (difference > 0) + 0.5 * (difference == 0)


def _logistic(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def _checked(truth: np.ndarray, ratings: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    truth, ratings = np.asarray(truth, bool), np.asarray(ratings, np.float64)
    if truth.shape != ratings.shape or truth.ndim != 1:
        raise ValueError(f"truth {truth.shape} and ratings {ratings.shape} must be [C] both")
    if truth.all() or not truth.any():
        raise ValueError("cases of both kinds are needed")
    return truth, ratings
