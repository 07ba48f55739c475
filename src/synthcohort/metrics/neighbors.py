"""Precision, recall, density and coverage from nearest neighbours: exact, in chunks, memory linear in N.

Conventions of Naeem et al. 2020 and their package prdc: the radius of a point is its distance to its k-th nearest
neighbour in its own set (itself not counted); inside means strictly nearer than the radius.
"""

from dataclasses import dataclass, replace

import numpy as np

from synthcohort.metrics.distribution import checked

K = 5
CHUNK = 1024
# Two computations of the same distance differ by rounding; a tie at the radius must count as outside in both.
TIE = 1e-12


def _squared_distances(a: np.ndarray, b: np.ndarray, norms_a: np.ndarray, norms_b: np.ndarray) -> np.ndarray:
    distances = a @ b.T
    distances *= -2.0
    distances += norms_a[:, None]
    distances += norms_b[None, :]
    return np.maximum(distances, 0.0, out=distances)


def squared_radii(features: np.ndarray, k: int = K, chunk: int = CHUNK) -> np.ndarray:
    """Squared distance of each point to its k-th nearest neighbour in the same set: [N] float64."""
    features = checked(features, "features", least=k + 1)
    norms = np.einsum("nd,nd->n", features, features)
    radii = np.empty(len(features))
    for start in range(0, len(features), chunk):
        rows = slice(start, start + chunk)
        distances = _squared_distances(features[rows], features, norms[rows], norms)
        distances[np.arange(len(distances)), np.arange(start, start + len(distances))] = np.inf
        radii[rows] = np.partition(distances, k - 1, axis=1)[:, k - 1]
    return radii


@dataclass(frozen=True)
class Neighborhoods:
    """How many points of each fold lie in which neighbourhood: all four metrics, also without any fold, follow from it.

    When a fold is left out the radii stay as they are.
    """

    k: int
    inside_real: np.ndarray  # [G, M] real points of fold g whose neighbourhood holds synthetic point j
    covering: np.ndarray  # [N, H] synthetic points of fold h inside the neighbourhood of real point i
    inside_synthetic: np.ndarray  # [N, H] synthetic points of fold h whose neighbourhood holds real point i
    real_folds: np.ndarray  # [N]
    synthetic_folds: np.ndarray  # [M]

    def value(self, name: str, without_real: int | None = None, without_synthetic: int | None = None) -> float:
        """One of precision, recall, density, coverage; on request without one fold of either side."""
        real = self.real_folds != (-1 if without_real is None else without_real)
        synthetic = self.synthetic_folds != (-1 if without_synthetic is None else without_synthetic)
        if name in ("precision", "density"):
            counts = self.inside_real.sum(axis=0)
            if without_real is not None:
                counts = counts - self.inside_real[without_real]
            counts = counts[synthetic]
            if not len(counts):
                return float("nan")
            if name == "precision":
                return float((counts > 0).mean())
            kept = int(np.count_nonzero(real))
            return float(counts.mean() / self.k * len(self.real_folds) / kept) if kept else float("nan")
        table = {"recall": self.inside_synthetic, "coverage": self.covering}[name]
        counts = table.sum(axis=1)
        if without_synthetic is not None:
            counts = counts - table[:, without_synthetic]
        counts = counts[real]
        return float((counts > 0).mean()) if len(counts) else float("nan")

    def among(self, chosen: np.ndarray) -> "Neighborhoods":
        """Recall and coverage of some of the real points only, in the same neighbourhoods."""
        return replace(
            self,
            covering=self.covering[chosen],
            inside_synthetic=self.inside_synthetic[chosen],
            real_folds=self.real_folds[chosen],
            inside_real=np.zeros_like(self.inside_real),
        )

    def left_out(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        """The metric without each fold of the real and each fold of the synthetic images."""
        return (
            np.array([self.value(name, without_real=fold) for fold in range(self.inside_real.shape[0])]),
            np.array([self.value(name, without_synthetic=fold) for fold in range(self.covering.shape[1])]),
        )


def neighborhoods(
    *,
    real: np.ndarray,
    synthetic: np.ndarray,
    real_folds: np.ndarray | None = None,
    synthetic_folds: np.ndarray | None = None,
    k: int = K,
    chunk: int = CHUNK,
) -> Neighborhoods:
    """One chunked pass over all pairs; folds default to a single one for each side.

    Raises ValueError for fewer than k + 1 images on either side.
    """
    real, synthetic = checked(real, "real", least=k + 1), checked(synthetic, "synthetic", least=k + 1)
    real_folds = np.zeros(len(real), np.int64) if real_folds is None else real_folds
    synthetic_folds = np.zeros(len(synthetic), np.int64) if synthetic_folds is None else synthetic_folds
    center = real.mean(axis=0)  # distances stay, rounding errors shrink
    real, synthetic = real - center, synthetic - center
    norms_real = np.einsum("nd,nd->n", real, real)
    norms_synthetic = np.einsum("nd,nd->n", synthetic, synthetic)
    tie = TIE * max(float(norms_real.max()), float(norms_synthetic.max()))
    radii_real = squared_radii(real, k, chunk) - tie
    radii_synthetic = squared_radii(synthetic, k, chunk) - tie
    num_real, num_synthetic = int(real_folds.max()) + 1, int(synthetic_folds.max()) + 1
    members = np.eye(num_synthetic, dtype=np.float32)[synthetic_folds]
    inside_real = np.zeros((num_real, len(synthetic)), np.int32)
    covering = np.empty((len(real), num_synthetic), np.int32)
    inside_synthetic = np.empty((len(real), num_synthetic), np.int32)
    for start in range(0, len(real), chunk):
        rows = slice(start, start + chunk)
        distances = _squared_distances(real[rows], synthetic, norms_real[rows], norms_synthetic)
        inside = (distances < radii_real[rows, None]).astype(np.float32)
        covering[rows] = np.rint(inside @ members)
        members_real = np.eye(num_real, dtype=np.float32)[real_folds[rows]]
        inside_real += np.rint(members_real.T @ inside).astype(np.int32)
        inside_synthetic[rows] = np.rint((distances < radii_synthetic[None, :]).astype(np.float32) @ members)
    return Neighborhoods(k, inside_real, covering, inside_synthetic, real_folds, synthetic_folds)


def precision(*, real: np.ndarray, synthetic: np.ndarray, k: int = K) -> float:
    """Share of synthetic points inside the neighbourhood of some real point."""
    return neighborhoods(real=real, synthetic=synthetic, k=k).value("precision")


def recall(*, real: np.ndarray, synthetic: np.ndarray, k: int = K) -> float:
    """Share of real points inside the neighbourhood of some synthetic point."""
    return neighborhoods(real=real, synthetic=synthetic, k=k).value("recall")


def density(*, real: np.ndarray, synthetic: np.ndarray, k: int = K) -> float:
    """How many real neighbourhoods hold a synthetic point, over k; about 1 for equal distributions."""
    return neighborhoods(real=real, synthetic=synthetic, k=k).value("density")


def coverage(*, real: np.ndarray, synthetic: np.ndarray, k: int = K) -> float:
    """Share of real points with a synthetic point in their neighbourhood; synthetic outliers can't raise it."""
    return neighborhoods(real=real, synthetic=synthetic, k=k).value("coverage")
