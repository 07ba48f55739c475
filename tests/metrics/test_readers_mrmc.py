import importlib.util
import math
from pathlib import Path

import numpy as np
import pytest

from synthcohort.metrics.readers_mrmc import (
    compare,
    covariance,
    d_prime_figures,
    difference,
    figures,
    mean_figures,
    single,
)

_spec = importlib.util.spec_from_file_location("vandyke", Path(__file__).with_name("vandyke.py"))
assert _spec is not None
assert _spec.loader is not None
vandyke = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(vandyke)


@pytest.fixture(scope="module")
def example():
    truth, ratings = vandyke.ratings()
    return figures(truth=truth, ratings=ratings)


def test_areas_are_the_published_ones(example):
    values, _ = example
    np.testing.assert_allclose(values, vandyke.AREAS, atol=3e-8)


def test_components_are_the_published_ones(example):
    found = compare(*example).components
    for name, value in vandyke.COMPONENTS.items():
        assert getattr(found, name) == pytest.approx(value, abs=6e-9), name


def test_random_readers_and_random_cases_are_the_published_ones(example):
    found = compare(*example)
    assert round(found.f, 2) == 4.46
    assert (found.df[0], round(found.df[1], 2), round(found.p, 4)) == (1, 15.26, 0.0517)
    gap = found.differences[0, 1]
    assert [round(x, 5) for x in (gap.value, gap.error, gap.low, gap.high)] == [-0.0438, 0.02075, -0.08796, 0.00036]
    first, second = found.tests
    assert (round(first.error, 7), round(first.df, 2)) == (0.0331736, 12.74)
    assert (first.low, first.high) == pytest.approx((0.82522360, 0.96885048), abs=2e-8)
    assert (second.low, second.high) == pytest.approx((0.89413783, 0.98753689), abs=2e-8)
    assert round(second.df, 2) == 12.71


def test_fixed_readers_are_the_published_ones(example):
    found = compare(*example, readers="fixed")
    assert round(found.f, 5) == 5.47595
    assert round(found.p, 4) == 0.0193
    gap = found.differences[0, 1]
    assert [round(x, 5) for x in (gap.error, gap.low, gap.high)] == [0.01872, -0.08049, -0.00711]
    assert (found.tests[0].low, found.tests[0].high) == pytest.approx((0.84943008, 0.94464399), abs=2e-8)


def test_fixed_cases_are_the_published_ones(example):
    found = compare(*example, cases="fixed")
    assert (round(found.f, 2), found.df[1], round(found.p, 4)) == (8.70, pytest.approx(4), 0.0420)
    gap = found.differences[0, 1]
    assert [round(x, 5) for x in (gap.low, gap.high)] == [-0.08502, -0.00258]
    assert (found.tests[1].low, found.tests[1].high) == pytest.approx((0.89598936, 0.98568536), abs=2e-8)


def test_pseudovalues_give_the_same_test(example):
    """Dorfman, Berbaum and Metz: analysis of variance of pseudovalues, by plain sums."""
    values, left_out = example
    count = left_out.shape[2]
    pseudo = count * values[:, :, None] - (count - 1) * left_out
    pseudo = pseudo + (values - pseudo.mean(axis=2))[:, :, None]  # normalized, Hillis 2005
    t, r, c = (pseudo.mean(axis=axes) for axes in ((1, 2), (0, 2), (0, 1)))
    tr, tc = pseudo.mean(axis=2), pseudo.mean(axis=1)
    rc, grand = pseudo.mean(axis=0), pseudo.mean()
    T, R, C = pseudo.shape
    rest_trc = pseudo - tr[:, :, None] - tc[:, None, :] - rc[None] + t[:, None, None] + r[:, None] + c - grand
    squares = {
        "T": R * C * ((t - grand) ** 2).sum() / (T - 1),
        "TR": C * ((tr - t[:, None] - r + grand) ** 2).sum() / ((T - 1) * (R - 1)),
        "TC": R * ((tc - t[:, None] - c + grand) ** 2).sum() / ((T - 1) * (C - 1)),
        "TRC": (rest_trc**2).sum() / ((T - 1) * (R - 1) * (C - 1)),
    }
    for name, value in vandyke.DBM.items():
        assert squares[name] == pytest.approx(value, rel=2e-5), name
    f = squares["T"] / (squares["TR"] + max(squares["TC"] - squares["TRC"], 0))
    assert f == pytest.approx(compare(values, left_out).f, rel=1e-6)


def test_left_out_areas_are_areas_without_the_case():
    truth, ratings = vandyke.ratings()
    _, left_out = figures(truth=truth, ratings=ratings[:1, :1])
    for case in (0, 40, 69, 113):
        keep = np.arange(114) != case
        again, _ = figures(truth=truth[keep], ratings=ratings[:1, :1, keep])
        assert left_out[0, 0, case] == pytest.approx(again[0, 0], abs=1e-12)


def test_left_out_d_prime_and_means_are_those_without_the_case():
    draw = np.random.default_rng(3)
    truth, said = draw.random(20) < 0.5, draw.random((3, 20)) < 0.6
    _, left_out = d_prime_figures(truth=truth, said=said)
    _, means = mean_figures(said)
    for case in (0, 7, 19):
        keep = np.arange(20) != case
        again, _ = d_prime_figures(truth=truth[keep], said=said[:, keep])
        np.testing.assert_allclose(left_out[:, case], again)
        np.testing.assert_allclose(means[:, case], said[:, keep].mean(axis=1))


def test_jackknife_covariance_of_means_is_the_sample_covariance():
    draw = np.random.default_rng(4)
    measured = draw.normal(size=(3, 30))
    _, left_out = mean_figures(measured)
    np.testing.assert_allclose(covariance(left_out), np.cov(measured) / 30)


def test_nested_cases_of_one_reader_are_a_difference_of_means():
    draw = np.random.default_rng(5)
    first, second = draw.normal(size=(1, 40)), draw.normal(size=(1, 25))
    (a, a_out), (b, b_out) = mean_figures(first), mean_figures(second)
    found = difference(np.stack([a, b]), [a_out, b_out])
    assert found.error**2 == pytest.approx(first.var(ddof=1) / 40 + second.var(ddof=1) / 25)
    assert math.isinf(found.df)


def test_readers_who_agree_are_worth_one():
    """Ten copies of a reader must not look like ten readers."""
    draw = np.random.default_rng(6)
    one = draw.random((1, 50)) < 0.7
    values, left_out = mean_figures(np.repeat(one, 10, axis=0))
    many, alone = single(values, left_out), single(values[:1], left_out[:1])
    assert many.error == pytest.approx(alone.error)
