import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from synthcohort.metrics.logistic import balanced_weights, fit_logistic


def blobs(num=120, classes=3, seed=0):
    generator = np.random.default_rng(seed)
    labels = np.arange(num) % classes
    return generator.normal(size=(num, 5)) * [1, 10, 0.1, 1, 1] + 0.8 * labels[:, None], labels


def test_agrees_with_scikit_learn():
    x, labels = blobs()
    ours = fit_logistic(x, labels, 3, ridge=2.0)
    z = (x - x.mean(axis=0)) / x.std(axis=0)
    theirs = LogisticRegression(C=0.5, tol=1e-10, max_iter=1000).fit(z, labels)
    assert ours.probabilities(x) == pytest.approx(theirs.predict_proba(z), abs=2e-4)


def test_a_class_that_was_not_there_is_never_said():
    x, labels = blobs(classes=2)
    found = fit_logistic(x, labels * 2, 4).probabilities(x)
    assert (found[:, [1, 3]] == 0).all()
    assert found.sum(axis=1) == pytest.approx(1)
    with pytest.raises(ValueError, match="1 class"):
        fit_logistic(x, np.zeros(len(x)), 2)


def test_weights_count_like_copies():
    x, labels = blobs()
    z = np.concatenate([x, x[:30]])
    weights = np.where(np.arange(120) < 30, 2.0, 1.0)
    twice = fit_logistic(z, np.concatenate([labels, labels[:30]]), 3)
    once = fit_logistic(x, labels, 3, weights=weights)
    assert once.probabilities(x).argmax(axis=1).tolist() == twice.probabilities(x).argmax(axis=1).tolist()
    assert balanced_weights(np.array([0, 0, 0, 1])) == pytest.approx([2 / 3, 2 / 3, 2 / 3, 2])


def test_a_constant_feature_changes_nothing():
    x, labels = blobs()
    same = fit_logistic(np.column_stack([x, np.ones(len(x))]), labels, 3).probabilities(np.column_stack([x, x[:, 0]]))
    assert np.isfinite(same).all()
    assert fit_logistic(x, labels, 3).probabilities(x) == pytest.approx(same, abs=1e-3)
