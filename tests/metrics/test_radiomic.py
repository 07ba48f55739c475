import numpy as np
import pytest
from scipy import linalg

from synthcohort.metrics.radiomic import radiomics_distance, radiomics_distance_interval, standardized
from synthcohort.metrics.scored import sample


def slow_frd(real, synthetic):
    """frd-score 1.0.1, version v1: z-scores by the first set, constant columns dropped, log of the squared distance."""
    mean, std = real.mean(0), real.std(0)
    kept = std > 0
    a, b = (real - mean)[:, kept] / std[kept], (synthetic - mean)[:, kept] / std[kept]
    c1, c2 = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    root = linalg.sqrtm(c1 @ c2).real
    return np.log(((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(c1) + np.trace(c2) - 2 * np.trace(root))


@pytest.fixture
def sets():
    generator = np.random.default_rng(0)
    scale = 10.0 ** np.arange(-3, 3)
    real, synthetic = generator.standard_normal((80, 6)) * scale, generator.standard_normal((70, 6)) * scale * 1.2
    return np.insert(real, 2, 7.0, axis=1), np.insert(synthetic, 2, 7.0, axis=1)


def test_both_readings_equal_the_package(sets):
    real, synthetic = sets
    expected = slow_frd(real, synthetic)
    assert radiomics_distance(real=real, synthetic=synthetic, squared=True) == pytest.approx(expected, rel=1e-6)
    assert radiomics_distance(real=real, synthetic=synthetic, squared=False) == pytest.approx(expected / 2, rel=1e-6)


def test_units_of_the_features_do_not_matter_and_the_interval_holds_the_value(sets):
    real, synthetic = sets
    value = radiomics_distance(real=real, synthetic=synthetic, squared=True)
    scaled = radiomics_distance(real=real * 1000 + 5, synthetic=synthetic * 1000 + 5, squared=True)
    assert scaled == pytest.approx(value, rel=1e-9)
    a, b = standardized(real, synthetic)
    assert a.shape[1] == 6
    score = radiomics_distance_interval(real=sample(a), synthetic=sample(b), squared=True)
    assert score.value == pytest.approx(value, rel=1e-9)
    assert score.low < value < score.high


def test_nothing_but_constants_is_refused():
    with pytest.raises(ValueError, match="constant"):
        standardized(np.ones((5, 3)))
