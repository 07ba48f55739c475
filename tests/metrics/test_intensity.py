import numpy as np
import pytest
from scipy.stats import wasserstein_distance

from synthcohort.metrics.intensity import (
    band_difference,
    histogram_distance,
    outside_share,
    spectral_gap,
    value_distance,
)


def test_histogram_distance_equals_scipy():
    generator = np.random.default_rng(0)
    a, b = generator.dirichlet(np.ones(16), 2), generator.dirichlet(np.ones(16), 2)
    expected = [
        100 * wasserstein_distance(np.arange(16) / 16, np.arange(16) / 16, x, y) for x, y in zip(a, b, strict=True)
    ]
    assert histogram_distance(real=a, synthetic=b) == pytest.approx(np.mean(expected), rel=1e-12)
    assert histogram_distance(real=a[0], synthetic=b[0]) == pytest.approx(expected[0], rel=1e-12)


def test_a_shift_by_one_bin_is_one_bin():
    shares = np.zeros(10)
    shares[3:6] = 1 / 3
    assert histogram_distance(real=shares, synthetic=np.roll(shares, 1)) == pytest.approx(10)
    assert histogram_distance(real=shares, synthetic=shares) == 0


def test_outside_share_counts_what_real_images_do_not_show():
    real, synthetic = np.zeros(10), np.zeros(10)
    real[3:6] = 1 / 3
    synthetic[[2, 3, 6]] = 0.25, 0.5, 0.25
    assert outside_share(real=real, synthetic=synthetic) == pytest.approx(0.5)
    assert outside_share(real=real, synthetic=real) == 0
    tails = np.full(10, 0.0005)
    tails[4] = 1 - 9 * 0.0005
    assert outside_share(real=tails, synthetic=tails) == pytest.approx(4 * 0.0005)  # two bins at either end


def test_value_distance_is_in_real_standard_deviations():
    values = np.random.default_rng(1).standard_normal(50) * 3
    assert value_distance(real=values, synthetic=values + 6) == pytest.approx(6 / values.std())
    assert np.isnan(value_distance(real=np.ones(5), synthetic=values))


def test_spectral_differences_have_a_sign_only_by_band():
    real = np.zeros(8)
    blurred = np.array([0, 0, 0, 0, -3, -6, -9, -12.0])
    assert spectral_gap(real=real, synthetic=blurred) == spectral_gap(real=blurred, synthetic=real) == 30 / 8
    assert band_difference(real=real, synthetic=blurred, low=0.5, high=1) == -7.5
    assert band_difference(real=real, synthetic=blurred, low=0, high=0.5) == 0
    assert np.isnan(band_difference(real=np.zeros(1), synthetic=np.zeros(1), low=0, high=0.5))
