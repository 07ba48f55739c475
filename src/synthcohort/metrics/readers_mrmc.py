"""Several readers, several cases: figures that hold for other readers and other cases too.

Obuchowski and Rockette's analysis of variance of the readers' figures, with covariances by the jackknife over cases
and Hillis' degrees of freedom. Dorfman, Berbaum and Metz' pseudovalues give the same F (Hillis et al. 2005).

Shapes: T tests (two modalities; here mostly real and synthetic), J readers, C cases. `values` [T, J] are the readers'
figures, `left_out` [T, J, C] the same without each case in turn. Names of the components as in Hillis 2007: `cov1` one
reader, two tests; `cov2` two readers, one test; `cov3` two readers, two tests.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy import stats

from synthcohort.metrics.intervals import Score
from synthcohort.metrics.readers import d_prime_of
from synthcohort.metrics.readers_roc import area, area_left_out

Kind = Literal["random", "fixed"]


@dataclass(frozen=True)
class Estimate:
    """A figure or a difference, its standard error and degrees of freedom (infinite: normal), and its interval."""

    value: float
    error: float
    df: float
    low: float
    high: float

    def score(self, lowest: float = -math.inf, highest: float = math.inf) -> Score:
        """As a score, cut to what the figure can be; without any spread there is no interval, and no certainty."""
        if not (math.isfinite(self.error) and self.error > 0):
            return Score(self.value)
        return Score(self.value, max(lowest, self.low), min(highest, self.high))


@dataclass(frozen=True)
class Components:
    """Obuchowski and Rockette's variance components; unbiased, so that they can be negative."""

    reader: float
    test_reader: float
    cov1: float
    cov2: float
    cov3: float
    error: float


@dataclass(frozen=True)
class Comparison:
    """The test that all tests' figures are equal, the differences (first minus second) and each test's figure."""

    components: Components
    f: float
    df: tuple[float, float]
    p: float
    differences: dict[tuple[int, int], Estimate]
    tests: tuple[Estimate, ...]


def figures(*, truth: np.ndarray, ratings: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Areas under the ROC curve and the areas left out: [..., ] and [..., C] of ratings [..., C]; truth [C]."""
    flat = ratings.reshape(-1, ratings.shape[-1])
    values = np.array([area(truth=truth, ratings=row) for row in flat])
    left_out = np.array([area_left_out(truth=truth, ratings=row) for row in flat])
    return values.reshape(ratings.shape[:-1]), left_out.reshape(ratings.shape)


def mean_figures(measured: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Means over cases (shares of right answers, mean ratings) and the means left out, of measured [..., C]."""
    measured = np.asarray(measured, np.float64)
    count, total = measured.shape[-1], measured.sum(axis=-1)
    return total / count, (total[..., None] - measured) / (count - 1)


def d_prime_figures(*, truth: np.ndarray, said: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """d′ [J] and d′ left out [J, C] of decisions said [J, C] bool; truth [C] bool."""
    truth, said = np.asarray(truth, bool), np.asarray(said, bool)
    hits, alarms = (said & truth).sum(axis=1), (said & ~truth).sum(axis=1)
    signals, noises = int(truth.sum()), int((~truth).sum())
    left_out = d_prime_of(
        hits[:, None] - (said & truth),
        np.broadcast_to(signals - truth, said.shape),
        alarms[:, None] - (said & ~truth),
        np.broadcast_to(noises - ~truth, said.shape),
    )
    return d_prime_of(hits, np.full(len(hits), signals), alarms, np.full(len(hits), noises)), left_out


def covariance(left_out: np.ndarray) -> np.ndarray:
    """Jackknife covariance of figures [F] from left_out [F, C]: [F, F]."""
    count = left_out.shape[1]
    away = left_out - left_out.mean(axis=1, keepdims=True)
    return np.asarray((count - 1) / count * (away @ away.T))


def single(
    values: np.ndarray,
    left_out: np.ndarray,
    *,
    readers: Kind = "random",
    cases: Kind = "random",
    confidence: float = 0.95,
) -> Estimate:
    """The mean figure of J readers in one test. One reader can only be a fixed one.

    Source: Hillis 2007, ddf_H for a single test; fixed readers: OR-DBM MRMC 2.5, analysis 2c.
    """  # fmt: skip
    values, left_out = np.asarray(values, np.float64), np.asarray(left_out, np.float64)
    num = len(values)
    if num < 2:
        readers = "fixed"
    cov = covariance(left_out)
    error, cov2 = float(np.diag(cov).mean()), _between(cov)
    if readers == "fixed":
        return _estimate(float(values.mean()), (error + (num - 1) * max(cov2, 0.0)) / num, math.inf, confidence)
    spread = float(values.var(ddof=1))
    whole = spread + (num * max(cov2, 0.0) if cases == "random" else 0.0)
    df = whole**2 / (spread**2 / (num - 1)) if spread > 0 else math.inf
    return _estimate(float(values.mean()), whole / num, df, confidence)


def compare(
    values: np.ndarray,
    left_out: np.ndarray,
    *,
    readers: Kind = "random",
    cases: Kind = "random",
    confidence: float = 0.95,
) -> Comparison:
    """Factorial design: every reader reads every case in every test.

    Source: Obuchowski and Rockette 1995; Hillis 2007 (degrees of freedom); OR-DBM MRMC 2.5, analyses 1 to 3.
    """  # fmt: skip
    values, left_out = np.asarray(values, np.float64), np.asarray(left_out, np.float64)
    tests, num, _ = left_out.shape
    parts, spread = components(values, left_out), _mean_squares(values)
    above = num * max(parts.cov2 - parts.cov3, 0.0)
    if readers == "fixed":
        whole = parts.error - parts.cov1 + (num - 1) * max(parts.cov2 - parts.cov3, 0.0)
        df = math.inf
    else:
        whole = spread["TR"] + (above if cases == "random" else 0.0)
        df = whole**2 / (spread["TR"] ** 2 / ((tests - 1) * (num - 1))) if spread["TR"] > 0 else math.inf
    f = spread["T"] / whole if whole > 0 else math.inf
    means = values.mean(axis=1)
    differences = {
        (i, j): _estimate(float(means[i] - means[j]), 2 * whole / num, df, confidence)
        for i in range(tests)
        for j in range(i + 1, tests)
    }
    alone = tuple(
        single(values[t], left_out[t], readers=readers, cases=cases, confidence=confidence) for t in range(tests)
    )
    return Comparison(parts, f, (tests - 1, df), _p_of_f(f, tests - 1, df), differences, alone)


def difference(
    values: np.ndarray, left_out: Sequence[np.ndarray], *, readers: Kind = "random", confidence: float = 0.95
) -> Estimate:
    """First test minus second, each with its own cases: values [2, J], left_out two arrays [J, C₁] and [J, C₂].

    The same readers read both; different cases make the covariances between the tests 0. One reader is a fixed one.
    Source: Hillis 2014, cases nested within tests; Hillis 2007 (degrees of freedom).
    """
    values = np.asarray(values, np.float64)
    num = values.shape[1]
    covs = [covariance(np.asarray(part, np.float64)) for part in left_out]
    error = float(np.mean([np.diag(cov).mean() for cov in covs]))
    cov2 = max(float(np.mean([_between(cov) for cov in covs])), 0.0)
    value = float(values[0].mean() - values[1].mean())
    if readers == "fixed" or num < 2:
        return _estimate(value, 2 / num * (error + (num - 1) * cov2), math.inf, confidence)
    spread = _mean_squares(values)["TR"]
    whole = spread + num * cov2
    df = whole**2 / (spread**2 / (num - 1)) if spread > 0 else math.inf
    return _estimate(value, 2 / num * whole, df, confidence)


def components(values: np.ndarray, left_out: np.ndarray) -> Components:
    """Variance components of the factorial design. Source: Hillis 2007, table 2."""
    tests, num, _ = left_out.shape
    cov = covariance(left_out.reshape(tests * num, -1)).reshape(tests, num, tests, num)
    same_test = np.array([cov[t, :, t, :] for t in range(tests)])
    cov2 = float(np.mean([_between(part) for part in same_test]))
    pairs = [(t, u) for t in range(tests) for u in range(tests) if t != u]
    across = np.array([cov[t, :, u, :] for t, u in pairs])
    cov1 = float(np.mean([np.diag(part).mean() for part in across]))
    cov3 = float(np.mean([_between(part) for part in across]))
    error = float(np.mean([np.diag(part).mean() for part in same_test]))
    spread = _mean_squares(values)
    test_reader = spread["TR"] - error + cov1 + (cov2 - cov3)
    reader = (spread["R"] - spread["TR"]) / tests - cov1 + cov3
    return Components(reader, test_reader, cov1, cov2, cov3, error)


def _mean_squares(values: np.ndarray) -> dict[str, float]:
    tests, num = values.shape
    by_test, by_reader = values.mean(axis=1, keepdims=True), values.mean(axis=0, keepdims=True)
    rest = values - by_test - by_reader + values.mean()
    return {
        "T": float(num * by_test.var(ddof=1)) if tests > 1 else 0.0,
        "R": float(tests * by_reader.var(ddof=1)) if num > 1 else 0.0,
        "TR": float((rest**2).sum() / max(1, (tests - 1) * (num - 1))),
    }


def _between(cov: np.ndarray) -> float:
    """Mean of what is off the diagonal."""
    num = len(cov)
    return float((cov.sum() - np.trace(cov)) / (num * (num - 1))) if num > 1 else 0.0


def _estimate(value: float, variance: float, df: float, confidence: float) -> Estimate:
    error = math.sqrt(max(variance, 0.0))
    quantile = (1 + confidence) / 2
    half = error * float(stats.norm.ppf(quantile) if math.isinf(df) else stats.t.ppf(quantile, df))
    return Estimate(value, error, df, value - half, value + half)


def _p_of_f(f: float, above: float, below: float) -> float:
    if math.isinf(f):
        return 0.0
    return float(stats.chi2.sf(above * f, above) if math.isinf(below) else stats.f.sf(f, above, below))
