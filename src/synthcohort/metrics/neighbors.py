"""Precision, recall, density and coverage from nearest neighbours: exact, in blocks, memory linear in N.

Conventions of Naeem et al. 2020 and their package prdc: the radius of a point is its distance to its k-th nearest
neighbour in its own set (itself not counted); inside means strictly nearer than the radius.
"""

from dataclasses import dataclass, replace

import numpy as np

from synthcohort.metrics.distribution import checked
from synthcohort.metrics.nearest import Screen, nearest, pair_distances, screen_for

K = 5
CHUNK = 512
TILE = 2**24  # pairs looked at together, at most
# Two computations of the same distance differ by rounding; a tie at the radius must count as outside in both.
TIE = 1e-12


def squared_radii(features: np.ndarray, k: int = K, chunk: int = CHUNK) -> np.ndarray:
    """Squared distance of each point to its k-th nearest neighbour in the same set: [N] float64."""
    features = checked(features, "features", least=k + 1)
    return nearest(features, features, k, same=True, rows=chunk)[0][:, -1] ** 2


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


@dataclass(frozen=True)
class _Pairs:
    """Which pairs lie inside whose radius: the float32 screen settles most, float64 those near the radius."""

    real: np.ndarray
    synthetic: np.ndarray
    screen: Screen
    right: np.ndarray  # the synthetic points as operand of the screen
    radii_real: np.ndarray
    radii_synthetic: np.ndarray

    def inside(self, rows: slice) -> list[tuple[np.ndarray, np.ndarray]]:
        """Pairs (row within the block, column) inside the real point's radius, and inside the synthetic point's."""
        left, norms = self.screen.left(self.real[rows])
        tile = left @ self.right.T
        tile += norms[:, None]
        # What the screen may lie below the true distance by: twice what the norms were shrunk by, at most.
        lost = 2.5 * (1 / float(self.screen.shrink) - 1)
        found = []
        for radii, by_row in ((self.radii_real[rows], True), (self.radii_synthetic, False)):
            limit = np.nextafter(radii.astype(np.float32), np.float32(np.inf))
            near = tile < (limit[:, None] if by_row else limit[None, :])
            row, column = np.divmod(np.flatnonzero(near), tile.shape[1])
            del near
            radius = radii[row if by_row else column]
            sure = tile[row, column] + lost * (norms[row].astype(np.float64) + self.right[column, -1]) < radius
            doubtful = np.flatnonzero(~sure)
            exact = pair_distances(self.real[rows], self.synthetic, row[doubtful], column[doubtful])
            sure[doubtful] = exact < radius[doubtful]
            found.append((row[sure], column[sure]))
        return found


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
    radii_real, radii_synthetic = squared_radii(real, k, chunk), squared_radii(synthetic, k, chunk)
    screen = screen_for(synthetic)
    right = screen.right(synthetic)
    pairs = _Pairs(real, synthetic, screen, right, radii_real * (1 - TIE), radii_synthetic * (1 - TIE))
    num_real, num_synthetic = int(real_folds.max()) + 1, int(synthetic_folds.max()) + 1
    inside_real = np.zeros((num_real, len(synthetic)), np.int32)
    covering = np.zeros((len(real), num_synthetic), np.int32)
    inside_synthetic = np.zeros((len(real), num_synthetic), np.int32)
    step = max(1, min(chunk, TILE // len(synthetic)))
    for start in range(0, len(real), step):
        rows = slice(start, start + step)
        for table, (row, column) in zip((covering, inside_synthetic), pairs.inside(rows), strict=True):
            cells = row * num_synthetic + synthetic_folds[column]
            counts = np.bincount(cells, minlength=len(table[rows]) * num_synthetic)
            table[rows] = counts.reshape(-1, num_synthetic)
            if table is covering:
                np.add.at(inside_real, (real_folds[rows][row], column), 1)
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
