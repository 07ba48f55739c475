import numpy as np
import pytest
from scipy import linalg
from sklearn.metrics.pairwise import polynomial_kernel

from synthcohort.metrics.distribution import (
    frechet_distance,
    frechet_left_out,
    kernel_distance,
    kernel_distance_subsets,
    kernel_sums,
)
from synthcohort.metrics.intervals import assign_folds


@pytest.fixture
def sets():
    generator = np.random.default_rng(0)
    mix = generator.standard_normal((12, 12))
    return generator.standard_normal((90, 12)) @ mix, generator.standard_normal((70, 12)) @ mix * 1.3 + 0.4


def slow_frechet(real, synthetic):
    """The textbook form with the square root of the product."""
    c1, c2 = np.cov(real.T), np.cov(synthetic.T)
    root = linalg.sqrtm(c1 @ c2).real
    return ((real.mean(0) - synthetic.mean(0)) ** 2).sum() + np.trace(c1 + c2 - 2 * root)


def slow_kernel_distance(real, synthetic):
    """Binkowski et al. 2018, equation 4, with scikit-learn's kernel."""
    d, n, m = real.shape[1], len(real), len(synthetic)
    kxx, kyy, kxy = (
        polynomial_kernel(a, b, degree=3, gamma=1 / d, coef0=1)
        for a, b in ((real, real), (synthetic, synthetic), (real, synthetic))
    )
    within = (kxx.sum() - np.trace(kxx)) / (n * (n - 1)) + (kyy.sum() - np.trace(kyy)) / (m * (m - 1))
    return within - 2 * kxy.mean()


def test_frechet_equals_the_textbook_form(sets):
    real, synthetic = sets
    assert frechet_distance(real=real, synthetic=synthetic) == pytest.approx(slow_frechet(real, synthetic), rel=1e-8)


def test_frechet_of_known_normals():
    # diagonal covariances: sum of (difference of standard deviations)²
    generator = np.random.default_rng(1)
    white = generator.standard_normal((400, 3))
    white = (white - white.mean(0)) @ np.linalg.inv(np.linalg.cholesky(np.cov(white.T))).T
    real, synthetic = white * [1, 2, 3] + 5, white * [2, 2, 1] + [5, 6, 5]
    assert frechet_distance(real=real, synthetic=synthetic) == pytest.approx(1 + 0 + 4 + 1, rel=1e-9)


def test_frechet_with_fewer_images_than_dimensions(sets):
    generator = np.random.default_rng(2)
    real, synthetic = generator.standard_normal((10, 40)), generator.standard_normal((8, 40))
    centered = [(x - x.mean(0)) / np.sqrt(len(x) - 1) for x in (real, synthetic)]
    overlap = np.linalg.svd(centered[0] @ centered[1].T, compute_uv=False).sum()  # the trace in the space of images
    shift = ((real.mean(0) - synthetic.mean(0)) ** 2).sum()
    expected = shift + (centered[0] ** 2).sum() + (centered[1] ** 2).sum() - 2 * overlap
    assert frechet_distance(real=real, synthetic=synthetic) == pytest.approx(expected, rel=1e-7)


def test_distances_of_a_set_to_itself(sets):
    real, _ = sets
    assert frechet_distance(real=real, synthetic=real) == pytest.approx(0, abs=1e-8)
    assert kernel_distance(real=real, synthetic=real) < 0  # unbiased, hence below zero here


def test_frechet_is_symmetric_and_ignores_order(sets):
    real, synthetic = sets
    value = frechet_distance(real=real, synthetic=synthetic)
    assert frechet_distance(real=synthetic, synthetic=real) == pytest.approx(value, rel=1e-9)
    assert frechet_distance(real=real[::-1], synthetic=synthetic[::-1]) == pytest.approx(value, rel=1e-9)


def test_float32_features_are_computed_in_float64(sets):
    real, synthetic = (s.astype(np.float32) for s in sets)
    wide = frechet_distance(real=real.astype(np.float64), synthetic=synthetic.astype(np.float64))
    assert frechet_distance(real=real, synthetic=synthetic) == wide


@pytest.mark.parametrize("noise", [0.5, 1.0, 2.0])
def test_noise_raises_both_distances(noise):
    generator = np.random.default_rng(3)
    real, clean, other = generator.standard_normal((3, 300, 12))
    weaker, stronger = clean + other * noise / 2, clean + other * noise
    for distance in (frechet_distance, kernel_distance):
        assert distance(real=real, synthetic=stronger) > distance(real=real, synthetic=weaker)


def test_kernel_distance_equals_the_reference(sets):
    real, synthetic = sets
    expected = slow_kernel_distance(real, synthetic)
    assert kernel_distance(real=real, synthetic=synthetic) == pytest.approx(expected, rel=1e-9)


def test_kernel_distance_ignores_chunks(sets, monkeypatch):
    real, synthetic = sets
    whole = kernel_distance(real=real, synthetic=synthetic)
    monkeypatch.setattr("synthcohort.metrics.distribution.CHUNK", 7)
    assert kernel_distance(real=real, synthetic=synthetic) == pytest.approx(whole, rel=1e-10)


def test_kernel_distance_is_unbiased():
    generator = np.random.default_rng(4)
    values = [
        kernel_distance(real=generator.standard_normal((30, 5)), synthetic=generator.standard_normal((25, 5)))
        for _ in range(300)
    ]
    assert abs(np.mean(values)) < 3 * np.std(values) / np.sqrt(len(values))


def test_kernel_subsets_surround_the_whole(sets):
    real, synthetic = sets
    values = kernel_distance_subsets(
        real=real, synthetic=synthetic, num_subsets=50, size=40, generator=np.random.default_rng(0)
    )
    whole = kernel_distance(real=real, synthetic=synthetic)
    assert values.shape == (50,)
    assert values.min() < whole < values.max()
    generator = np.random.default_rng(0)
    with pytest.raises(ValueError, match="subsets of 100"):
        kernel_distance_subsets(real=real, synthetic=synthetic, num_subsets=1, size=100, generator=generator)


def test_left_out_values_are_the_distances_without_the_fold(sets):
    real, synthetic = sets
    folds, other_folds = assign_folds(np.arange(90) // 3, 6), assign_folds(np.arange(70), 5)
    first, second = frechet_left_out(real=real, synthetic=synthetic, real_folds=folds, synthetic_folds=other_folds)
    k_first, k_second = kernel_sums(
        real=real, synthetic=synthetic, real_folds=folds, synthetic_folds=other_folds
    ).left_out()
    for fold in range(6):
        kept = real[folds != fold]
        assert first[fold] == pytest.approx(slow_frechet(kept, synthetic), rel=1e-6)
        assert k_first[fold] == pytest.approx(slow_kernel_distance(kept, synthetic), rel=1e-8)
    for fold in range(5):
        kept = synthetic[other_folds != fold]
        assert second[fold] == pytest.approx(slow_frechet(real, kept), rel=1e-6)
        assert k_second[fold] == pytest.approx(slow_kernel_distance(real, kept), rel=1e-8)


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        (np.zeros((1, 4)), "N at least 2"),
        (np.zeros(4), "shape"),
        (np.full((5, 4), np.nan), "not finite"),
    ],
)
def test_useless_features_are_refused(bad, words):
    with pytest.raises(ValueError, match=words):
        frechet_distance(real=bad, synthetic=np.eye(4))
