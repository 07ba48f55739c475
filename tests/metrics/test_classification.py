import numpy as np
import pytest
from sklearn import metrics as reference

from synthcohort.metrics.classification import (
    accuracy,
    auroc,
    confusion,
    macro_recall,
    quadratic_weighted_kappa,
    recall_per_class,
)


@pytest.fixture
def graded():
    generator = np.random.default_rng(0)
    truth = generator.integers(0, 5, 300)
    predicted = np.clip(truth + generator.integers(-1, 2, 300), 0, 4)
    scores = np.round(generator.random((300, 5)) + np.eye(5)[predicted], 1)  # rounded, so that there are ties
    return truth, predicted, scores / scores.sum(axis=1, keepdims=True)


def test_equal_to_scikit_learn(graded):
    truth, predicted, scores = graded
    counts = confusion(truth=truth, predicted=predicted, num_classes=5)
    assert (counts == reference.confusion_matrix(truth, predicted)).all()
    assert accuracy(truth=truth, predicted=predicted) == reference.accuracy_score(truth, predicted)
    assert recall_per_class(truth=truth, predicted=predicted, num_classes=5) == pytest.approx(
        reference.recall_score(truth, predicted, average=None)
    )
    assert macro_recall(truth=truth, predicted=predicted, num_classes=5) == pytest.approx(
        reference.balanced_accuracy_score(truth, predicted)
    )
    assert quadratic_weighted_kappa(truth=truth, predicted=predicted, num_classes=5) == pytest.approx(
        reference.cohen_kappa_score(truth, predicted, weights="quadratic"), rel=1e-12
    )
    assert auroc(truth=truth, scores=scores) == pytest.approx(
        reference.roc_auc_score(truth, scores, multi_class="ovr", average="macro"), rel=1e-12
    )


def test_two_classes_use_the_second_score(graded):
    truth, _, scores = graded
    binary = (truth > 2).astype(int)
    pair = np.stack([1 - scores[:, 4], scores[:, 4]], axis=1)
    assert auroc(truth=binary, scores=pair) == pytest.approx(reference.roc_auc_score(binary, scores[:, 4]), rel=1e-12)


def test_absent_classes_are_nan_not_zero():
    truth, predicted = np.array([0, 0, 2]), np.array([0, 1, 2])
    recalls = recall_per_class(truth=truth, predicted=predicted, num_classes=4)
    assert recalls[[0, 2]] == pytest.approx([0.5, 1.0])
    assert np.isnan(recalls[[1, 3]]).all()
    assert macro_recall(truth=truth, predicted=predicted, num_classes=4) == 0.75


def test_figures_that_do_not_exist_are_nan():
    ones = np.zeros(5, int)
    assert np.isnan(quadratic_weighted_kappa(truth=ones, predicted=ones, num_classes=3))
    assert np.isnan(auroc(truth=ones, scores=np.ones((5, 3)) / 3))
    assert np.isnan(accuracy(truth=[], predicted=[]))


def test_constant_prediction_has_no_agreement_beyond_chance(graded):
    truth, _, _ = graded
    constant = np.full(300, 2)
    assert quadratic_weighted_kappa(truth=truth, predicted=constant, num_classes=5) == pytest.approx(0, abs=1e-12)


def test_classes_out_of_range_are_refused():
    with pytest.raises(ValueError, match="outside 0 … 2"):
        confusion(truth=np.array([0, 3]), predicted=np.array([0, 1]), num_classes=3)
