"""Intervals and tests: every figure of an evidence report carries one, and resamples patients, never single images.

Words: a *group* is what is independent of everything else (a patient, a lesion, one synthetic image); a *fold* is a set
of groups that is left out together by the jackknife.
"""

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from scipy import stats

from synthcohort.core.seeds import rng


@dataclass(frozen=True)
class Score:
    """A number with its interval, and the same number for real against real at the same sizes (the floor).

    None: it can't be computed, or has no interval.
    """

    value: float | None
    low: float | None = None
    high: float | None = None
    floor: "Score | None" = None


def clopper_pearson(successes: float, trials: int, confidence: float = 0.95) -> tuple[float, float]:
    """The exact two-sided interval of a proportion; also for successes between whole numbers."""
    if not 0 <= successes <= trials or trials < 1:
        raise ValueError(f"{successes} successes of {trials} trials")
    tail = (1 - confidence) / 2
    low = 0.0 if successes == 0 else float(stats.beta.ppf(tail, successes, trials - successes + 1))
    high = 1.0 if successes == trials else float(stats.beta.ppf(1 - tail, successes + 1, trials - successes))
    return low, high


def widened(score: Score, low: float, high: float) -> Score:
    """The score with an interval that also reaches from `low` to `high`."""
    if score.value is None or score.low is None or score.high is None:
        return score
    return replace(score, low=float(min(score.low, low)), high=float(max(score.high, high)))


def at_least_binomial(score: Score, num_groups: int, confidence: float = 0.95) -> Score:
    """A share's interval, made no narrower than the exact one of as many independent patients.

    Resampling sees no spread in a share of 0 or 1, and would claim certainty from a handful of patients.
    """
    if score.value is None or num_groups < 1:
        return score
    return widened(score, *clopper_pearson(score.value * num_groups, num_groups, confidence))


def fisher_greater(*, successes: int, trials: int, control_successes: int, control_trials: int) -> float:
    """One-sided exact p-value that the rate is greater than the control's rate (Fisher's exact test)."""
    if not 0 <= successes <= trials or not 0 <= control_successes <= control_trials:
        raise ValueError(f"{successes} of {trials} against {control_successes} of {control_trials}")
    total, hits = trials + control_trials, successes + control_successes
    return float(stats.hypergeom.sf(successes - 1, total, hits, trials))


def group_index(groups: Sequence[Hashable] | np.ndarray) -> np.ndarray:
    """Groups as numbers 0 … G-1, numbered in the order of their names: [N] int64."""
    return np.unique(np.asarray(groups), return_inverse=True)[1].reshape(-1)


def assign_folds(groups: Sequence[Hashable] | np.ndarray, num_folds: int, seed: int = 0) -> np.ndarray:
    """Spreads whole groups over at most `num_folds` folds of nearly equal numbers of images: [N] int64.

    The folds depend on the names of the groups and the seed, not on the order of the images.
    """
    index = group_index(groups)
    sizes = np.bincount(index)
    num_folds = min(num_folds, len(sizes))
    order = rng("folds", seed).permutation(len(sizes))
    order = order[np.argsort(-sizes[order], kind="stable")]
    fold_of_group = np.empty(len(sizes), np.int64)
    filled = np.zeros(num_folds, np.int64)
    for group in order:
        fold = int(np.argmin(filled))
        fold_of_group[group] = fold
        filled[fold] += sizes[group]
    return fold_of_group[index]


def jackknife_error(*left_out: np.ndarray) -> float:
    """Standard error from the values computed with each fold left out, one array for every independent sample.

    Source: Efron and Stein 1981; the grouped jackknife of Tukey 1958.
    """
    variance = 0.0
    for values in left_out:
        values = np.asarray(values, np.float64)
        if len(values) < 2 or not np.isfinite(values).all():
            return float("nan")
        variance += (len(values) - 1) / len(values) * float(((values - values.mean()) ** 2).sum())
    return float(np.sqrt(variance))


def jackknife_interval(
    value: float,
    *left_out: np.ndarray,
    confidence: float = 0.95,
    lowest: float = -np.inf,
    highest: float = np.inf,
    scale: float = 1.0,
) -> Score:
    """value ± t · standard error, cut to what the metric can be; `scale` multiplies the error.

    It is the interval of the score *at this number of images*: a bias that comes from the number of images stays in the
    value as it stays in a floor of the same number. (A bootstrap would add that bias a second time.)
    """
    error = jackknife_error(*left_out) * scale
    if not np.isfinite(error):
        return Score(float(value))
    quantile = float(stats.t.ppf((1 + confidence) / 2, min(len(values) for values in left_out) - 1))
    return Score(
        float(value), float(max(lowest, value - quantile * error)), float(min(highest, value + quantile * error))
    )


def bootstrap(
    statistic: Callable[[np.ndarray], float],
    groups: Sequence[Hashable] | np.ndarray,
    resamples: int = 1000,
    seed: int = 0,
) -> np.ndarray:
    """Values of `statistic(indices)` over resamples of whole groups with replacement: [resamples] float64."""
    index = group_index(groups)
    order = np.argsort(index, kind="stable")
    members = np.split(order, np.cumsum(np.bincount(index))[:-1])
    generator = rng("bootstrap", seed)
    values = np.empty(resamples)
    for number in range(resamples):
        chosen = generator.integers(0, len(members), len(members))
        values[number] = statistic(np.concatenate([members[group] for group in chosen]))
    return values


def bootstrap_interval(
    value: float,
    values: np.ndarray,
    confidence: float = 0.95,
    method: Literal["percentile", "basic"] = "percentile",
) -> Score:
    """Interval from bootstrap values; resamples in which the statistic does not exist (NaN) are left out."""
    values = np.asarray(values, np.float64)
    values = values[np.isfinite(values)]
    if len(values) < 20 or not np.isfinite(value):
        return Score(float(value) if np.isfinite(value) else None)
    low, high = np.quantile(values, [(1 - confidence) / 2, (1 + confidence) / 2])
    if method == "basic":
        low, high = 2 * value - high, 2 * value - low
    return Score(float(value), float(low), float(high))
