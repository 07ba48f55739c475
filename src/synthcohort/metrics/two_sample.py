"""Classifier two-sample test: can a simple classifier tell synthetic features from real ones?

A ridge logistic regression is fitted on some patients and asked about the others, in turn. An area of 0.5 under its ROC
curve says that it can't tell. Source: Lopez-Paz and Oquab 2017 (1610.06545), with cross-fitting and folds of patients.
"""

import numpy as np
from scipy.special import expit

from synthcohort.metrics.classification import binary_auroc
from synthcohort.metrics.intervals import Score, assign_folds, jackknife_interval
from synthcohort.metrics.scored import Groups, Sample

PENALTY = 0.01  # of the squared weights of standardized features, against the mean loss
DIMS = 128  # principal directions of both sides together, which know nothing of the sides
FOLDS = 5


def fit_logistic(
    features: np.ndarray, labels: np.ndarray, weights: np.ndarray, penalty: float = PENALTY
) -> tuple[np.ndarray, float]:
    """Ridge logistic regression by Newton's method: coefficients [D] and intercept (not penalized).

    Least of the mean of weight · loss + penalty / 2 · |coefficients|²; `weights` [N] have mean 1. scikit-learn's C is
    1 / (N · penalty).
    """
    design = np.concatenate([features, np.ones((len(features), 1))], axis=1)
    ridge = np.full(design.shape[1], penalty)
    ridge[-1] = 0
    beta = np.zeros(design.shape[1])

    def objective(at: np.ndarray) -> float:
        z = design @ at
        return float((weights * (np.logaddexp(0, z) - labels * z)).mean() + (ridge * at**2).sum() / 2)

    value = objective(beta)
    for _ in range(50):
        p = expit(design @ beta)
        gradient = design.T @ (weights * (p - labels)) / len(design) + ridge * beta
        curvature = (design * (weights * np.maximum(p * (1 - p), 1e-10))[:, None]).T @ design / len(design)
        step = np.linalg.solve(curvature + np.diag(ridge + 1e-12), gradient)
        size = 1.0
        while objective(beta - size * step) > value and size > 1e-6:
            size /= 2
        beta = beta - size * step
        before, value = value, objective(beta)
        if before - value < 1e-13 and np.abs(gradient).max() < 1e-9:
            break
    return beta[:-1], float(beta[-1])


def cross_fitted(
    *, real: np.ndarray, synthetic: np.ndarray, real_parts: np.ndarray, synthetic_parts: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """How synthetic each image looks to a classifier that was fitted without its part: [N] and [M]."""
    features = np.concatenate([real, synthetic]).astype(np.float64)
    labels = np.repeat([0.0, 1.0], [len(real), len(synthetic)])
    parts = np.concatenate([real_parts, synthetic_parts])
    if features.shape[1] > DIMS:
        centered = features - features.mean(axis=0)
        features = centered @ np.linalg.eigh(centered.T @ centered)[1][:, ::-1][:, :DIMS]
    scores = np.zeros(len(features))
    for part in np.unique(parts):
        out = parts == part
        mean, std = features[~out].mean(axis=0), features[~out].std(axis=0)
        scaled = (features - mean) / np.where(std > 0, std, 1)
        share = labels[~out].mean()
        weights = np.where(labels[~out] > 0, 0.5 / share, 0.5 / (1 - share))
        coefficients, intercept = fit_logistic(scaled[~out], labels[~out], weights)
        scores[out] = scaled[out] @ coefficients + intercept
    return scores[: len(real)], scores[len(real) :]


def _area(real: np.ndarray, synthetic: np.ndarray, real_parts: np.ndarray, synthetic_parts: np.ndarray) -> float:
    """Pairs put in the right order, over all pairs of the same part: scores of different fits are never compared."""
    right, pairs = 0.0, 0
    for part in np.unique(real_parts):
        a, b = real[real_parts == part], synthetic[synthetic_parts == part]
        if len(a) and len(b):
            positive = np.repeat([False, True], [len(a), len(b)])
            right += binary_auroc(positive, np.concatenate([a, b])) * len(a) * len(b)
            pairs += len(a) * len(b)
    return right / pairs if pairs else float("nan")


def two_sample_auc(
    *,
    real: Sample,
    synthetic: Sample,
    real_groups: Groups,
    synthetic_groups: Groups,
    parts: int = FOLDS,
    seed: int = 0,
    confidence: float = 0.95,
) -> Score:
    """Area under the ROC curve of a classifier that tells synthetic from real, cross-fitted by patient.

    0.5: it can't tell; 1: always. The interval leaves folds of patients out of the comparison, and is widened for what
    other training patients would have changed (Nadeau and Bengio 2003: variance times 1 + parts / (parts - 1)).
    Raises ValueError for fewer than `parts` patients on either side.
    """
    sides = [assign_folds(groups, parts, seed + 1) for groups in (real_groups, synthetic_groups)]
    if any(int(side.max()) + 1 < parts for side in sides):
        raise ValueError(f"fewer than {parts} patients on one side")
    a, b = cross_fitted(real=real.features, synthetic=synthetic.features, real_parts=sides[0], synthetic_parts=sides[1])
    without = []
    for folds, first in ((real.folds, True), (synthetic.folds, False)):
        kept = [folds != fold for fold in range(int(folds.max()) + 1)]
        without.append(
            np.array(
                [
                    _area(a[k], b, sides[0][k], sides[1]) if first else _area(a, b[k], sides[0], sides[1][k])
                    for k in kept
                ]
            )
        )
    value, scale = _area(a, b, *sides), float(np.sqrt(1 + parts / (parts - 1)))
    return jackknife_interval(value, *without, confidence=confidence, lowest=0.0, highest=1.0, scale=scale)
