import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from synthcohort.metrics.scored import sample
from synthcohort.metrics.two_sample import PENALTY, cross_fitted, fit_logistic, two_sample_auc


def auc(real, synthetic, real_groups=None, seed=0):
    groups = np.arange(len(real)) if real_groups is None else real_groups
    others = np.arange(len(synthetic))
    return two_sample_auc(
        real=sample(real, groups),
        synthetic=sample(synthetic, others),
        real_groups=groups,
        synthetic_groups=others,
        seed=seed,
    )


def test_the_fit_equals_scikit_learn():
    generator = np.random.default_rng(0)
    features = generator.standard_normal((120, 5))
    labels = (features[:, 0] + generator.standard_normal(120) > 0).astype(float)
    weights = generator.uniform(0.5, 1.5, 120)
    weights /= weights.mean()
    expected = LogisticRegression(C=1 / (120 * PENALTY), tol=1e-12, max_iter=10_000)
    expected.fit(features, labels, sample_weight=weights)
    coefficients, intercept = fit_logistic(features, labels, weights)
    assert coefficients == pytest.approx(expected.coef_[0], rel=1e-6)
    assert intercept == pytest.approx(expected.intercept_[0], rel=1e-6)


def test_separable_sides_still_give_finite_coefficients():
    features = np.concatenate([np.full((20, 2), -5.0), np.full((20, 2), 5.0)])
    coefficients, _ = fit_logistic(features, np.repeat([0.0, 1.0], 20), np.ones(40))
    assert np.isfinite(coefficients).all()


def test_no_image_is_scored_by_a_fit_that_saw_it():
    """Labels by chance in many dimensions: a fit that saw them would call them perfectly."""
    generator = np.random.default_rng(1)
    real, synthetic = generator.standard_normal((2, 60, 100))
    parts = np.arange(60) % 5
    a, b = cross_fitted(real=real, synthetic=synthetic, real_parts=parts, synthetic_parts=parts)
    assert 0.3 < roc_auc_score(np.repeat([0, 1], 60), np.concatenate([a, b])) < 0.7


def test_equal_distributions_can_not_be_told_and_a_shift_can():
    generator = np.random.default_rng(2)
    held = [auc(*generator.standard_normal((2, 100, 6)), seed=s) for s in range(20)]
    assert np.mean([score.value for score in held]) == pytest.approx(0.5, abs=0.03)
    assert np.mean([score.low <= 0.5 <= score.high for score in held]) >= 0.95
    real, synthetic = generator.standard_normal((2, 150, 6))
    shifted = auc(real, synthetic + 0.8)
    assert shifted.low > 0.8
    assert auc(real, synthetic + 0.4).value < shifted.value


def test_images_of_one_patient_stay_in_one_part():
    """Patients with five alike images: known patients would be called real at sight."""
    generator = np.random.default_rng(3)
    real = np.repeat(generator.standard_normal((40, 30)), 5, axis=0)
    synthetic = generator.standard_normal((200, 30))
    score = auc(real, synthetic, np.arange(200) // 5)
    assert score.low < 0.55


def test_too_few_patients_are_refused():
    with pytest.raises(ValueError, match="fewer than 5 patients"):
        auc(np.eye(6), np.eye(6), np.arange(6) // 2)
