"""How different the images of one set are from each other: Vendi score and mean distance within a class."""

import numpy as np

from synthcohort.metrics.distribution import checked
from synthcohort.metrics.intervals import Score, jackknife_interval
from synthcohort.metrics.scored import INTERVAL_DIMS, Sample

CHUNK = 2048


def unit_rows(features: np.ndarray) -> np.ndarray:
    """Rows scaled to length 1. Raises ValueError for a row of zeros, which has no direction."""
    features = checked(features, "features", least=1)
    norms = np.linalg.norm(features, axis=1, keepdims=True)
    if not (norms > 0).all():
        raise ValueError("features: a row of zeros has no direction")
    return features / norms


def _effective(eigenvalues: np.ndarray) -> float:
    """exp of Shannon's entropy."""
    positive = eigenvalues[eigenvalues > 0]
    return float(np.exp(-(positive * np.log(positive)).sum()))


def vendi_score(features: np.ndarray) -> float:
    """How many truly different images a set holds: exp of the entropy of the eigenvalues of K / N, K the cosines.

    Between 1 (all alike) and N. K and the Gram matrix of the dimensions share their eigenvalues; the smaller is taken.
    Source: Friedman and Dieng 2023 (2210.02410), definition 3.1.
    """
    unit = unit_rows(features)
    gram = unit.T @ unit if unit.shape[1] <= len(unit) else unit @ unit.T
    return _effective(np.linalg.eigvalsh(gram / len(unit)))


def vendi_interval(sample: Sample, confidence: float = 0.95) -> Score:
    """Vendi score with its jackknife interval, found in at most INTERVAL_DIMS directions and stretched."""
    value, unit, scale = vendi_score(sample.features), unit_rows(sample.features), 1.0
    if unit.shape[1] > INTERVAL_DIMS:
        unit = unit @ np.linalg.eigh(unit.T @ unit)[1][:, ::-1][:, :INTERVAL_DIMS]
        scale = max(1.0, value / _effective(np.linalg.eigvalsh(unit.T @ unit / len(unit))))
    gram, without = unit.T @ unit, []
    for fold in range(int(sample.folds.max()) + 1):
        out = unit[sample.folds == fold]
        kept = len(unit) - len(out)
        without.append(_effective(np.linalg.eigvalsh((gram - out.T @ out) / kept)) if kept else np.nan)
    return jackknife_interval(value, np.array(without), confidence=confidence, lowest=1.0, scale=scale)


def mean_distance(features: np.ndarray, classes: np.ndarray | None = None, owners: np.ndarray | None = None) -> float:
    """Mean Euclidean distance of two images of the same class and of different patients; NaN when there are none."""
    features = checked(features, "features", least=1)
    folds = np.zeros(len(features), np.int64)
    sums, counts = _distance_sums(features, classes, owners, folds)
    return float(sums.sum() / counts.sum()) if counts.sum() else float("nan")


def mean_distance_interval(
    sample: Sample, classes: np.ndarray | None = None, owners: np.ndarray | None = None, confidence: float = 0.95
) -> Score:
    """`mean_distance` with its jackknife interval; Score(None) when no class has two patients."""
    sums, counts = _distance_sums(sample.features, classes, owners, sample.folds)
    if not counts.sum():
        return Score(None)
    kept = ~np.eye(len(sums), dtype=bool)
    with np.errstate(invalid="ignore"):  # a single fold leaves nothing: no interval
        without = np.array([sums[np.ix_(row, row)].sum() / counts[np.ix_(row, row)].sum() for row in kept])
    return jackknife_interval(float(sums.sum() / counts.sum()), without, confidence=confidence, lowest=0.0)


def _distance_sums(
    features: np.ndarray, classes: np.ndarray | None, owners: np.ndarray | None, folds: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Sums of distances and numbers of pairs by pair of folds [G, G]; every pair occurs twice."""
    num = int(folds.max()) + 1
    sums, counts = np.zeros((num, num)), np.zeros((num, num))
    classes = np.zeros(len(features), np.int64) if classes is None else np.asarray(classes)
    owners = np.arange(len(features)) if owners is None else np.unique(np.asarray(owners), return_inverse=True)[1]
    for number in np.unique(classes[classes >= 0]):
        chosen = np.flatnonzero(classes == number)
        x, owner = features[chosen] - features[chosen].mean(axis=0), owners[chosen]
        norms, members = np.einsum("nd,nd->n", x, x), np.eye(num)[folds[chosen]]
        for start in range(0, len(x), CHUNK):
            rows = slice(start, start + CHUNK)
            squared = norms[rows, None] + norms[None, :] - 2 * (x[rows] @ x.T)
            different = owner[rows, None] != owner[None, :]
            distances = np.sqrt(np.maximum(squared, 0)) * different
            sums += members[rows].T @ distances @ members
            counts += members[rows].T @ different.astype(np.float64) @ members
    return sums, counts
