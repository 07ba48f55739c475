import numpy as np
import pytest
from scipy.spatial.distance import cdist
from sklearn.neighbors import NearestNeighbors

from synthcohort.metrics.intervals import assign_folds
from synthcohort.metrics.neighbors import coverage, density, neighborhoods, precision, recall, squared_radii

NAMES = ("precision", "recall", "density", "coverage")


@pytest.fixture
def sets():
    generator = np.random.default_rng(0)
    return generator.standard_normal((130, 6)), generator.standard_normal((110, 6)) * 0.8 + 0.3


def slow_metrics(real, synthetic, k, radii=None):
    """The four lines of the prdc package."""

    def radius(x):
        return np.sort(cdist(x, x), axis=1)[:, k]

    real_radius, synthetic_radius = radii if radii else (radius(real), radius(synthetic))
    distance = cdist(real, synthetic)
    return {
        "precision": (distance < real_radius[:, None]).any(axis=0).mean(),
        "recall": (distance < synthetic_radius[None, :]).any(axis=1).mean(),
        "density": (distance < real_radius[:, None]).sum(axis=0).mean() / k,
        "coverage": (distance.min(axis=1) < real_radius).mean(),
    }


@pytest.mark.parametrize("k", [1, 3, 5])
def test_equal_to_the_reference(sets, k):
    real, synthetic = sets
    expected = slow_metrics(real, synthetic, k)
    table = neighborhoods(real=real, synthetic=synthetic, k=k)
    for name, function in zip(NAMES, (precision, recall, density, coverage), strict=True):
        assert table.value(name) == pytest.approx(expected[name], rel=1e-12), name
        assert function(real=real, synthetic=synthetic, k=k) == table.value(name)


def test_radii_equal_scikit_learn(sets):
    real, _ = sets
    expected = NearestNeighbors(n_neighbors=6).fit(real).kneighbors(real)[0][:, 5]
    assert np.sqrt(squared_radii(real, 5)) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("chunk", [1, 7, 64, 4096])
def test_chunks_and_order_do_not_matter(sets, chunk):
    real, synthetic = sets
    order, other = np.random.default_rng(1).permutation(130), np.random.default_rng(2).permutation(110)
    whole = neighborhoods(real=real, synthetic=synthetic)
    parts = neighborhoods(real=real[order], synthetic=synthetic[other], chunk=chunk)
    assert [parts.value(name) for name in NAMES] == [whole.value(name) for name in NAMES]


def test_ties_at_the_radius_are_outside_whatever_the_chunks(sets):
    # every real neighbour is also a synthetic point, so one distance equals the radius up to rounding
    real, _ = sets
    values = {neighborhoods(real=real, synthetic=real.copy(), chunk=chunk).value("density") for chunk in (1, 13, 200)}
    assert values == {1.0}


def test_a_common_shift_far_from_zero_changes_nothing(sets):
    real, synthetic = sets
    near, far = (neighborhoods(real=real + shift, synthetic=synthetic + shift) for shift in (0.0, 1e4))
    assert [near.value(name) for name in NAMES] == [far.value(name) for name in NAMES]


def test_same_distribution_scores_high():
    generator = np.random.default_rng(3)
    table = neighborhoods(real=generator.standard_normal((500, 4)), synthetic=generator.standard_normal((500, 4)))
    assert table.value("precision") > 0.9
    assert table.value("recall") > 0.9
    assert table.value("density") == pytest.approx(1, abs=0.1)
    assert table.value("coverage") > 0.9


def test_a_collapsed_set_keeps_precision_and_loses_recall_and_coverage(sets):
    real, _ = sets
    collapsed = real[:1] + np.random.default_rng(4).standard_normal((110, 6)) * 1e-3
    table = neighborhoods(real=real, synthetic=collapsed)
    assert table.value("precision") > 0.95
    assert table.value("recall") < 0.05
    assert table.value("coverage") < 0.15


def test_half_the_classes_missing_halves_coverage_and_noise_lowers_precision():
    generator = np.random.default_rng(5)
    centers = np.array([[0.0, 0], [30, 0], [0, 30], [30, 30]])
    real = centers[np.arange(200) % 4] + generator.standard_normal((200, 2))
    half = centers[np.arange(200) % 2] + generator.standard_normal((200, 2))
    assert coverage(real=real, synthetic=half) == pytest.approx(0.5, abs=0.05)
    assert precision(real=real, synthetic=half) > 0.9
    noisy = centers[np.arange(200) % 4] + generator.standard_normal((200, 2)) * 8
    assert precision(real=real, synthetic=noisy) < 0.5


def test_left_out_values_are_the_metrics_without_the_fold(sets):
    real, synthetic = sets
    folds, other_folds = assign_folds(np.arange(130) // 2, 7), assign_folds(np.arange(110), 4)
    table = neighborhoods(real=real, synthetic=synthetic, real_folds=folds, synthetic_folds=other_folds)
    real_radius, synthetic_radius = (np.sqrt(squared_radii(x)) for x in sets)
    for name in NAMES:
        first, second = table.left_out(name)
        for fold in range(7):
            kept = folds != fold
            expected = slow_metrics(real[kept], synthetic, 5, (real_radius[kept], synthetic_radius))[name]
            # with fewer real points at unchanged radii the density is brought back to the whole number of points
            scale = 130 / kept.sum() if name == "density" else 1
            assert first[fold] == pytest.approx(expected * scale, rel=1e-12)
        for fold in range(4):
            kept = other_folds != fold
            expected = slow_metrics(real, synthetic[kept], 5, (real_radius, synthetic_radius[kept]))[name]
            assert second[fold] == pytest.approx(expected, rel=1e-12)


def test_too_few_images_are_refused(sets):
    real, _ = sets
    with pytest.raises(ValueError, match=r"synthetic.*at least 6"):
        neighborhoods(real=real, synthetic=real[:5])


def test_coverage_among_some_points_is_theirs_alone(sets):
    real, synthetic = sets
    table = neighborhoods(real=real, synthetic=synthetic, real_folds=assign_folds(np.arange(130), 7))
    some = np.arange(130) % 3 == 0
    radius = np.sqrt(squared_radii(real))
    nearest = cdist(real, synthetic).min(axis=1)
    part = table.among(some)
    assert part.value("coverage") == (nearest < radius)[some].mean()
    assert part.value("coverage", without_real=2) == (nearest < radius)[some & (table.real_folds != 2)].mean()
    shares = table.among(some).value("recall") * some.sum() + table.among(~some).value("recall") * (~some).sum()
    assert shares / 130 == pytest.approx(table.value("recall"))
