import numpy as np
import pytest
from scipy.linalg import eigvalsh
from scipy.spatial.distance import cdist
from sklearn.metrics.pairwise import cosine_similarity

from synthcohort.metrics.diversity import (
    mean_distance,
    mean_distance_interval,
    unit_rows,
    vendi_interval,
    vendi_score,
)
from synthcohort.metrics.scored import sample


def slow_vendi(features):
    """Definition 3.1 with scikit-learn's cosine kernel; equal to vendi-score (benchmarks/metric_oracles)."""
    values = eigvalsh(cosine_similarity(features) / len(features))
    values = values[values > 0]
    return np.exp(-(values * np.log(values)).sum())


@pytest.mark.parametrize("shape", [(40, 7), (12, 30)])
def test_vendi_equals_the_definition_by_either_gram_matrix(shape):
    features = np.random.default_rng(0).standard_normal(shape) + 0.3
    assert vendi_score(features) == pytest.approx(slow_vendi(features), rel=1e-9)
    assert vendi_score(features[::-1]) == pytest.approx(vendi_score(features), rel=1e-12)


def test_vendi_counts_what_is_truly_different():
    assert vendi_score(np.eye(9)) == pytest.approx(9)
    assert vendi_score(np.repeat(np.eye(3), 5, axis=0)) == pytest.approx(3)
    assert vendi_score(np.ones((8, 4))) == pytest.approx(1)
    generator = np.random.default_rng(1)
    varied = generator.standard_normal((100, 10))
    collapsed = varied[:1] + 0.05 * generator.standard_normal((100, 10))
    assert vendi_score(collapsed) < 0.3 * vendi_score(varied)


def test_vendi_interval_leaves_whole_patients_out(monkeypatch):
    features = np.random.default_rng(2).standard_normal((60, 20)) * np.linspace(2, 0.2, 20)
    sides = sample(features, np.arange(60) // 2, folds=10)
    score = vendi_interval(sides)
    assert score.low < score.value < score.high
    assert score.value == vendi_score(features)
    monkeypatch.setattr("synthcohort.metrics.diversity.INTERVAL_DIMS", 12)
    projected = vendi_interval(sides)
    assert projected.value == score.value
    assert projected.high - projected.low == pytest.approx(score.high - score.low, rel=0.6)


def test_a_row_of_zeros_has_no_direction():
    with pytest.raises(ValueError, match="no direction"):
        unit_rows(np.zeros((3, 2)))


def test_mean_distance_counts_pairs_of_a_class_and_of_different_patients():
    generator = np.random.default_rng(3)
    features, classes, owners = generator.standard_normal((30, 4)), np.arange(30) % 3 - 1, np.arange(30) // 2
    distances = cdist(features, features)
    counted = (classes[:, None] == classes) & (classes >= 0)[:, None] & (owners[:, None] != owners)
    assert mean_distance(features, classes, owners) == pytest.approx(distances[counted].mean(), rel=1e-12)
    score = mean_distance_interval(sample(features, owners, folds=5), classes, owners)
    assert score.value == pytest.approx(distances[counted].mean(), rel=1e-12)
    assert score.low < score.value < score.high


def test_mean_distance_ignores_blocks_and_is_said_not_to_exist_for_one_patient(monkeypatch):
    features = np.random.default_rng(4).standard_normal((50, 4)) + 100
    whole = mean_distance(features)
    monkeypatch.setattr("synthcohort.metrics.diversity.CHUNK", 7)
    assert mean_distance(features) == pytest.approx(whole, rel=1e-12)
    assert np.isnan(mean_distance(features, owners=np.zeros(50)))
    assert mean_distance_interval(sample(features, np.zeros(50)), owners=np.zeros(50)).value is None
