import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from synthcohort.metrics.shift import Estimate, mean_of, share_of, superiority


def compared(reference, sample, reference_owners=None, sample_owners=None, weights=None):
    return superiority(
        reference=reference,
        sample=sample,
        reference_owners=np.arange(len(reference)) if reference_owners is None else reference_owners,
        sample_owners=np.arange(len(sample)) if sample_owners is None else sample_owners,
        reference_weights=weights,
    )


def test_equals_the_area_under_the_roc_curve_with_ties_and_weights():
    generator = np.random.default_rng(0)
    a, b = generator.integers(0, 9, 80), generator.integers(2, 11, 50)
    weights = generator.random(80)
    truth, values = np.repeat([0, 1], [80, 50]), np.concatenate([a, b])
    assert compared(a, b).value == pytest.approx(roc_auc_score(truth, values))
    weighted = roc_auc_score(truth, values, sample_weight=np.concatenate([weights, np.ones(50)]))
    assert compared(a, b, weights=weights).value == pytest.approx(weighted)
    assert compared(b, a).value == pytest.approx(1 - compared(a, b).value)


def test_the_interval_holds_the_truth_when_patients_have_several_images():
    generator = np.random.default_rng(1)
    inside = 0
    for _ in range(300):
        sides = [np.repeat(generator.normal(size=60), 3) + 0.2 * generator.normal(size=180) for _ in range(2)]
        owners = np.repeat(np.arange(60), 3)
        found = compared(*sides, owners, owners).score()
        inside += found.low <= 0.5 <= found.high
    assert 272 <= inside <= 297  # 95 % of 300, within three standard deviations


def test_copies_of_a_patient_add_no_certainty():
    values, owners = np.random.default_rng(2).random(30), np.arange(30)
    one, many = mean_of(values, owners), mean_of(np.tile(values, 5), np.tile(owners, 5))
    assert many.error == pytest.approx(one.error)
    assert one.error == pytest.approx(values.std(ddof=1) / np.sqrt(30))


def test_a_share_of_none_is_not_certain():
    found = share_of(np.zeros(50), np.arange(50)).score(0, 1)
    assert found.low == 0
    assert 0.02 < found.high < 0.06
    assert np.isnan(share_of(np.zeros(0), np.zeros(0)).value)
    assert mean_of(np.ones(5), np.zeros(5)).error == np.inf


def test_bounds_are_one_sided_and_differences_add_errors():
    difference = Estimate(1.0, 3.0) - Estimate(0.5, 4.0)
    assert (difference.value, difference.error) == (0.5, 5.0)
    assert difference.high(0.025) == pytest.approx(0.5 + 1.96 * 5, abs=0.01)
    assert difference.low(0.5) == pytest.approx(0.5)
