"""What one reader's decisions say: shares, sensitivity and specificity, d′ and criterion, each with its interval.

Words: a *signal* is a case of the kind to be found, a *noise* case is of the other kind; a *hit* is a signal called
one, a *false alarm* a noise case called a signal. Figures of several readers are in `readers_mrmc`.
"""

import math

import numpy as np
from scipy import stats

from synthcohort.metrics.intervals import Score


def wilson(successes: int, trials: int, confidence: float = 0.95) -> tuple[float, float]:
    """The score interval of a proportion: on average over proportions it covers what it says.

    Source: Wilson 1927; recommended by Brown, Cai and DasGupta 2001 for n above 40, and for smaller n beside Jeffreys'.
    """
    _check(successes, trials)
    z = float(stats.norm.ppf((1 + confidence) / 2))
    share = successes / trials
    middle = (share + z * z / (2 * trials)) / (1 + z * z / trials)
    half = z / (1 + z * z / trials) * math.sqrt(share * (1 - share) / trials + z * z / (4 * trials**2))
    return max(0.0, middle - half), min(1.0, middle + half)


def share(successes: int, trials: int, confidence: float = 0.95) -> Score:
    """A proportion with Wilson's interval; without trials it has no value."""
    if trials == 0:
        return Score(None)
    return Score(successes / trials, *wilson(successes, trials, confidence))


def decisions(*, truth: np.ndarray, said: np.ndarray) -> tuple[int, int, int, int]:
    """Hits, signals, false alarms and noise cases from two boolean arrays [C]."""
    truth, said = np.asarray(truth, bool), np.asarray(said, bool)
    if truth.shape != said.shape or truth.ndim != 1:
        raise ValueError(f"truth {truth.shape} and said {said.shape} must be [C] both")
    return int((truth & said).sum()), int(truth.sum()), int((~truth & said).sum()), int((~truth).sum())


def d_prime(hits: int, signals: int, false_alarms: int, noises: int, confidence: float = 0.95) -> Score:
    """d′ = z(hit rate) − z(false alarm rate), rates with half a case added on both sides.

    The interval combines Jeffreys' intervals of the two rates, carried to the probit scale, by squares: it exists for
    rates of 0 and 1 too. Source: Hautus 1995 (rates); Zou and Donner 2008 (interval of a difference).
    """
    _check(hits, signals)
    _check(false_alarms, noises)
    (a, a_low, a_high), (b, b_low, b_high) = (
        _probit(hits, signals, confidence),
        _probit(false_alarms, noises, confidence),
    )
    value = a - b
    low = value - math.hypot(a - a_low, b_high - b)
    return Score(value, low, value + math.hypot(a_high - a, b - b_low))


def criterion(hits: int, signals: int, false_alarms: int, noises: int, confidence: float = 0.95) -> Score:
    """c = −(z(hit rate) + z(false alarm rate)) / 2: above 0 the reader rarely says signal. Source: as `d_prime`."""
    _check(hits, signals)
    _check(false_alarms, noises)
    (a, a_low, a_high), (b, b_low, b_high) = (
        _probit(hits, signals, confidence),
        _probit(false_alarms, noises, confidence),
    )
    value = -(a + b) / 2
    return Score(value, value - math.hypot(a_high - a, b_high - b) / 2, value + math.hypot(a - a_low, b - b_low) / 2)


def d_prime_of(hits: np.ndarray, signals: np.ndarray, false_alarms: np.ndarray, noises: np.ndarray) -> np.ndarray:
    """d′ of many counts at once, for leaving out one case at a time."""
    hit_rate = (np.asarray(hits, np.float64) + 0.5) / (np.asarray(signals, np.float64) + 1)
    alarm_rate = (np.asarray(false_alarms, np.float64) + 0.5) / (np.asarray(noises, np.float64) + 1)
    return np.asarray(stats.norm.ppf(hit_rate) - stats.norm.ppf(alarm_rate))


def _probit(successes: int, trials: int, confidence: float) -> tuple[float, float, float]:
    tail = (1 - confidence) / 2
    a, b = successes + 0.5, trials - successes + 0.5
    rates = [(successes + 0.5) / (trials + 1), *stats.beta.ppf([tail, 1 - tail], a, b)]
    value, low, high = (float(x) for x in stats.norm.ppf(rates))
    return value, min(low, value), max(high, value)


def _check(successes: int, trials: int) -> None:
    if not 0 <= successes <= trials or trials < 1:
        raise ValueError(f"{successes} successes of {trials} trials")
