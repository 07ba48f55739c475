import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import integrate, stats
from sklearn.metrics import roc_auc_score

from synthcohort.metrics.readers import criterion, d_prime, decisions, share, wilson
from synthcohort.metrics.readers_equivalence import tost
from synthcohort.metrics.readers_mrmc import Estimate
from synthcohort.metrics.readers_roc import area, area_left_out, area_score, binormal, points


def test_wilson_is_the_root_of_the_score_test():
    low, high = wilson(27, 60)
    for bound in (low, high):
        assert abs(27 / 60 - bound) / math.sqrt(bound * (1 - bound) / 60) == pytest.approx(stats.norm.ppf(0.975))


def test_d_prime_of_known_rates():
    found = d_prime(84, 100, 16, 100)
    rates = (84.5 / 101, 16.5 / 101)
    assert found.value == pytest.approx(stats.norm.ppf(rates[0]) - stats.norm.ppf(rates[1]))
    assert criterion(84, 100, 16, 100).value == pytest.approx(0, abs=1e-12)


@given(st.integers(1, 40), st.integers(1, 40), st.data())
def test_d_prime_always_has_an_interval_around_it(signals, noises, data):
    hits, alarms = data.draw(st.integers(0, signals)), data.draw(st.integers(0, noises))
    found = d_prime(hits, signals, alarms, noises)
    assert math.isfinite(found.low)
    assert found.low <= found.value <= found.high < math.inf
    turned = d_prime(alarms, noises, hits, signals)
    assert (turned.value, turned.low, turned.high) == pytest.approx((-found.value, -found.high, -found.low))


def test_a_reader_who_always_says_the_same_sees_nothing():
    found = d_prime(30, 30, 30, 30)
    assert found.value == pytest.approx(0)
    assert found.low < 0 < found.high


def test_counts_of_decisions():
    assert decisions(truth=[1, 1, 0, 0, 0], said=[1, 0, 1, 0, 0]) == (1, 2, 1, 3)
    assert share(0, 0).value is None
    with pytest.raises(ValueError, match="successes"):
        d_prime(5, 4, 0, 4)


def test_area_is_that_of_sklearn_and_of_the_curve():
    draw = np.random.default_rng(0)
    truth, ratings = draw.random(80) < 0.4, draw.integers(1, 6, 80)
    found = area(truth=truth, ratings=ratings)
    assert found == pytest.approx(roc_auc_score(truth, ratings))
    corners = points(truth=truth, ratings=ratings)
    assert np.trapezoid(corners[:, 1], corners[:, 0]) == pytest.approx(found)
    assert area(truth=truth, ratings=-ratings) == pytest.approx(1 - found)


def test_area_left_out_of_one_case_by_hand():
    truth, ratings = np.array([1, 1, 0, 0], bool), np.array([3, 1, 2, 1])
    assert area(truth=truth, ratings=ratings) == pytest.approx((1 + 1 + 0 + 0.5) / 4)
    np.testing.assert_allclose(area_left_out(truth=truth, ratings=ratings), [0.25, 1.0, 0.75, 0.5])


def test_perfect_separation_has_an_exact_bound():
    found = area_score(truth=np.arange(40) >= 20, ratings=np.arange(40))
    assert (found.value, found.high) == (1.0, 1.0)
    assert found.low == pytest.approx(0.025 ** (1 / 20))


def test_binormal_finds_what_made_the_ratings():
    draw = np.random.default_rng(1)
    noise, signal = draw.normal(0, 1, 4000), draw.normal(1.5, 1.25, 4000)  # a = 1.2, b = 0.8
    ratings = np.digitize(np.concatenate([noise, signal]), [-1, -0.3, 0.2, 0.8, 1.5])
    found = binormal(truth=np.arange(8000) >= 4000, ratings=ratings)
    assert found.a == pytest.approx(1.2, abs=0.08)
    assert found.b == pytest.approx(0.8, abs=0.05)
    assert found.area.low < stats.norm.cdf(1.2 / math.sqrt(1.64)) < found.area.high
    under, _ = integrate.quad(lambda x: float(found.curve(np.array([x]))[0]), 0, 1)
    assert under == pytest.approx(found.area.value, abs=1e-6)


def test_binormal_error_is_that_of_repeated_studies():
    """The interval from the likelihood's curvature is as wide as the spread of the areas of many studies."""
    draw = np.random.default_rng(2)
    truth, areas, widths = np.arange(120) >= 60, [], []
    for _ in range(30):
        values = np.concatenate([draw.normal(0, 1, 60), draw.normal(1, 1, 60)])
        found = binormal(truth=truth, ratings=np.digitize(values, [-0.5, 0, 0.5, 1.0, 1.5]))
        areas.append(stats.norm.ppf(found.area.value))
        widths.append((stats.norm.ppf(found.area.high) - stats.norm.ppf(found.area.low)) / (2 * 1.96))
    assert np.mean(widths) == pytest.approx(np.std(areas), rel=0.4)


def test_binormal_refuses_what_is_degenerate():
    truth = np.arange(20) >= 10
    assert binormal(truth=truth, ratings=truth * 3) is None
    assert binormal(truth=truth, ratings=np.arange(20) % 2) is None


def test_tost_rejects_exactly_when_the_interval_is_inside():
    for value in (-0.08, 0.0, 0.03, 0.06, 0.2):
        found = tost(Estimate(value, 0.03, 12.0, 0, 0), margin=0.1)
        assert found.equivalent == (found.low > -0.1 and found.high < 0.1)
        by_hand = max(1 - stats.t.cdf((value + 0.1) / 0.03, 12), stats.t.cdf((value - 0.1) / 0.03, 12))
        assert found.p == pytest.approx(by_hand)
    assert tost(Estimate(0.0, 0.0, 5.0, 0, 0), margin=0.1).equivalent is False  # no spread shows nothing
    with pytest.raises(ValueError, match="margin"):
        tost(Estimate(0, 1, 5, 0, 0), margin=0)
