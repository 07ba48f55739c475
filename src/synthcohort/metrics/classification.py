"""How well predicted classes agree with true ones. Classes are numbers 0 … C-1; a figure that does not exist is NaN."""

import numpy as np
from scipy.stats import rankdata


def confusion(*, truth: np.ndarray, predicted: np.ndarray, num_classes: int) -> np.ndarray:
    """Counts [C, C]: row = true class, column = predicted class."""
    truth, predicted = np.asarray(truth, np.int64), np.asarray(predicted, np.int64)
    if truth.shape != predicted.shape or truth.ndim != 1:
        raise ValueError(f"truth {truth.shape} and predicted {predicted.shape} must be [N] both")
    if len(truth) and not 0 <= min(truth.min(), predicted.min()) <= max(truth.max(), predicted.max()) < num_classes:
        raise ValueError(f"classes outside 0 … {num_classes - 1}")
    return np.bincount(truth * num_classes + predicted, minlength=num_classes**2).reshape(num_classes, num_classes)


def accuracy_of(counts: np.ndarray) -> float:
    """Accuracy from a confusion matrix."""
    return float(np.trace(counts) / counts.sum()) if counts.sum() else float("nan")


def recalls_of(counts: np.ndarray) -> np.ndarray:
    """Recall of each class from a confusion matrix: [C]; NaN for a class without true members."""
    members = counts.sum(axis=1)
    return np.where(members > 0, np.diag(counts) / np.maximum(members, 1), np.nan)


def macro_recall_of(counts: np.ndarray) -> float:
    """Mean recall of the classes that have members (balanced accuracy)."""
    recalls = recalls_of(counts)
    return float(np.nanmean(recalls)) if np.isfinite(recalls).any() else float("nan")


def kappa_of(counts: np.ndarray) -> float:
    """Cohen's κ with quadratic weights from a confusion matrix; NaN when one side has a single class only."""
    total = counts.sum()
    classes = np.arange(len(counts))
    weights = (classes[:, None] - classes[None, :]) ** 2
    if not total:
        return float("nan")
    expected = counts.sum(axis=1)[:, None] * counts.sum(axis=0)[None, :] / total
    disagreement = float((weights * expected).sum())
    return float(1 - (weights * counts).sum() / disagreement) if disagreement > 0 else float("nan")


def accuracy(*, truth: np.ndarray, predicted: np.ndarray) -> float:
    """Share of right predictions."""
    truth, predicted = np.asarray(truth), np.asarray(predicted)
    return float((truth == predicted).mean()) if len(truth) else float("nan")


def recall_per_class(*, truth: np.ndarray, predicted: np.ndarray, num_classes: int) -> np.ndarray:
    """Share of each class's members that were found: [C]."""
    return recalls_of(confusion(truth=truth, predicted=predicted, num_classes=num_classes))


def macro_recall(*, truth: np.ndarray, predicted: np.ndarray, num_classes: int) -> float:
    """Mean recall of the classes that have members."""
    return macro_recall_of(confusion(truth=truth, predicted=predicted, num_classes=num_classes))


def quadratic_weighted_kappa(*, truth: np.ndarray, predicted: np.ndarray, num_classes: int) -> float:
    """Agreement beyond chance of ordered grades; a miss by two grades weighs four times a miss by one."""
    return kappa_of(confusion(truth=truth, predicted=predicted, num_classes=num_classes))


def binary_auroc(positive: np.ndarray, scores: np.ndarray) -> float:
    num_positive = int(positive.sum())
    num_negative = len(positive) - num_positive
    if not num_positive or not num_negative:
        return float("nan")
    ranks = rankdata(scores)
    return float((ranks[positive].sum() - num_positive * (num_positive + 1) / 2) / (num_positive * num_negative))


def auroc(*, truth: np.ndarray, scores: np.ndarray) -> float:
    """Mean over classes of the area under the ROC curve of one class against the rest; ties count half.

    truth [N]; scores [N, C]. Classes without members are left out; of two classes the second one's area is given.
    """
    truth, scores = np.asarray(truth, np.int64), np.asarray(scores, np.float64)
    if scores.ndim != 2 or len(truth) != len(scores):
        raise ValueError(f"truth {truth.shape} and scores {scores.shape} must be [N] and [N, C]")
    classes = [1] if scores.shape[1] == 2 else range(scores.shape[1])
    areas = np.array([binary_auroc(truth == c, scores[:, c]) for c in classes])
    return float(np.nanmean(areas)) if np.isfinite(areas).any() else float("nan")
