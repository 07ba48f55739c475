"""Distances between the distributions of real and synthetic features: Fréchet distance and kernel distance.

Legend: features are [N, D]; *left out* arrays hold the distance without each fold of patients (see intervals).
"""

from dataclasses import dataclass

import numpy as np

CHUNK = 2048


@dataclass(frozen=True)
class Moments:
    """Number, mean [D] and covariance [D, D] (divided by N - 1) of a set of features."""

    num: int
    mean: np.ndarray
    covariance: np.ndarray


def checked(features: np.ndarray, name: str, least: int = 2) -> np.ndarray:
    """Features as float64; raises ValueError when they are not [N ≥ least, D] finite numbers."""
    features = np.asarray(features, np.float64)
    if features.ndim != 2 or len(features) < least or not features.shape[1]:
        raise ValueError(f"{name}: features of shape {features.shape}; needed: [N, D] with N at least {least}")
    if not np.isfinite(features).all():
        raise ValueError(f"{name}: features that are not finite")
    return features


def moments(features: np.ndarray) -> Moments:
    """Mean and covariance in float64."""
    features = checked(features, "features")
    mean = features.mean(axis=0)
    centered = features - mean
    return Moments(len(features), mean, centered.T @ centered / (len(features) - 1))


def _root(covariance: np.ndarray) -> np.ndarray:
    """A factor L [D, D] with L Lᵀ = covariance; exact for singular covariances, where Cholesky fails."""
    eigenvalues, vectors = np.linalg.eigh(covariance)
    return vectors * np.sqrt(np.clip(eigenvalues, 0, None))


def frechet_from_moments(*, real: Moments, synthetic: Moments) -> float:
    """|m₁ - m₂|² + tr C₁ + tr C₂ - 2 tr (C₁C₂)^½; the last trace is the sum of the singular values of L₁ᵀL₂.

    No square root of an asymmetric product, no complex numbers, no jitter. Source: Dowson and Landau 1982.
    """
    shift = float(((real.mean - synthetic.mean) ** 2).sum())
    spread = float(np.trace(real.covariance) + np.trace(synthetic.covariance))
    overlap = float(np.linalg.svd(_root(real.covariance).T @ _root(synthetic.covariance), compute_uv=False).sum())
    return max(0.0, shift + spread - 2 * overlap)


def frechet_distance(*, real: np.ndarray, synthetic: np.ndarray) -> float:
    """Squared Fréchet (2-Wasserstein) distance of the normal distributions fitted to both sets of features.

    Biased upwards, the more the fewer images: compare only with a floor of the same numbers.
    """
    return frechet_from_moments(real=moments(real), synthetic=moments(synthetic))


def principal_directions(features: np.ndarray, dims: int) -> np.ndarray:
    """The first principal directions of features, [D, min(dims, D)]."""
    return np.linalg.eigh(moments(features).covariance)[1][:, ::-1][:, :dims]


def frechet_left_out(
    *, real: np.ndarray, synthetic: np.ndarray, real_folds: np.ndarray, synthetic_folds: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Fréchet distances without each fold of the real and each fold of the synthetic images.

    Sums by fold are subtracted from the whole, so each value costs one symmetric eigenvalue problem.
    """
    first = _without_folds(real, real_folds, moments(synthetic))
    second = _without_folds(synthetic, synthetic_folds, moments(real))
    return first, second


def _without_folds(features: np.ndarray, folds: np.ndarray, other: Moments) -> np.ndarray:
    features = checked(features, "features")
    center = features.mean(axis=0)
    centered = features - center
    squares = centered.T @ centered
    root = _root(other.covariance)
    other_mean, other_spread = other.mean - center, float(np.trace(other.covariance))
    values = np.full(int(folds.max()) + 1, np.nan)
    for fold in range(len(values)):
        out = centered[folds == fold]
        num = len(features) - len(out)
        if num < 2:
            continue
        mean = -out.sum(axis=0) / num
        covariance = (squares - out.T @ out - num * np.outer(mean, mean)) / (num - 1)
        eigenvalues = np.linalg.eigvalsh(root.T @ covariance @ root)
        overlap = float(np.sqrt(np.clip(eigenvalues, 0, None)).sum())
        values[fold] = ((mean - other_mean) ** 2).sum() + np.trace(covariance) + other_spread - 2 * overlap
    return values


def cubic_kernel(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(a·b / D + 1)³. Source: Bińkowski et al. 2018 (the kernel of the Kernel Inception Distance)."""
    return (a @ b.T / a.shape[1] + 1.0) ** 3


def _block_sums(a: np.ndarray, b: np.ndarray, folds_a: np.ndarray, folds_b: np.ndarray, same: bool) -> np.ndarray:
    """Sums of the kernel over pairs of folds [G_a, G_b]; pairs of an image with itself left out when `same`."""
    num_a, num_b = int(folds_a.max()) + 1, int(folds_b.max()) + 1
    members_b = np.eye(num_b)[folds_b]
    sums = np.zeros((num_a, num_b))
    for start in range(0, len(a), CHUNK):
        rows = slice(start, start + CHUNK)
        kernel = cubic_kernel(a[rows], b)
        if same:
            kernel[np.arange(len(kernel)), np.arange(start, start + len(kernel))] = 0.0
        by_row = kernel @ members_b
        for fold in range(num_a):
            sums[fold] += by_row[folds_a[rows] == fold].sum(axis=0)
    return sums


@dataclass(frozen=True)
class KernelSums:
    """Kernel sums by folds: enough for the distance and for the distance without any fold, in memory that ignores N."""

    real: np.ndarray  # [G, G], an image with itself left out
    synthetic: np.ndarray  # [H, H], an image with itself left out
    cross: np.ndarray  # [G, H]
    num_real: np.ndarray  # [G] images in each fold
    num_synthetic: np.ndarray  # [H]

    def value(self, without_real: int | None = None, without_synthetic: int | None = None) -> float:
        """The unbiased squared maximum mean discrepancy, on request without one fold of either side."""
        g = np.arange(len(self.num_real)) != (-1 if without_real is None else without_real)
        h = np.arange(len(self.num_synthetic)) != (-1 if without_synthetic is None else without_synthetic)
        n, m = int(self.num_real[g].sum()), int(self.num_synthetic[h].sum())
        if n < 2 or m < 2:
            return float("nan")
        within = self.real[np.ix_(g, g)].sum() / (n * (n - 1)) + self.synthetic[np.ix_(h, h)].sum() / (m * (m - 1))
        return float(within - 2 * self.cross[np.ix_(g, h)].sum() / (n * m))

    def left_out(self) -> tuple[np.ndarray, np.ndarray]:
        """The distances without each fold of the real and each fold of the synthetic images."""
        return (
            np.array([self.value(without_real=fold) for fold in range(len(self.num_real))]),
            np.array([self.value(without_synthetic=fold) for fold in range(len(self.num_synthetic))]),
        )


def kernel_sums(
    *, real: np.ndarray, synthetic: np.ndarray, real_folds: np.ndarray, synthetic_folds: np.ndarray
) -> KernelSums:
    """One chunked pass over all pairs."""
    real, synthetic = checked(real, "real"), checked(synthetic, "synthetic")
    return KernelSums(
        real=_block_sums(real, real, real_folds, real_folds, same=True),
        synthetic=_block_sums(synthetic, synthetic, synthetic_folds, synthetic_folds, same=True),
        cross=_block_sums(real, synthetic, real_folds, synthetic_folds, same=False),
        num_real=np.bincount(real_folds),
        num_synthetic=np.bincount(synthetic_folds),
    )


def kernel_distance(*, real: np.ndarray, synthetic: np.ndarray) -> float:
    """Unbiased squared MMD with the cubic polynomial kernel; for equal distributions about 0, on either side.

    Source: Bińkowski et al. 2018.
    """
    one = np.zeros(len(real), np.int64)
    other = np.zeros(len(synthetic), np.int64)
    return kernel_sums(real=real, synthetic=synthetic, real_folds=one, synthetic_folds=other).value()


def kernel_distance_subsets(
    *, real: np.ndarray, synthetic: np.ndarray, num_subsets: int, size: int, generator: np.random.Generator
) -> np.ndarray:
    """Kernel distances of random subsets, drawn without replacement, as papers report them: [num_subsets]."""
    if not 2 <= size <= min(len(real), len(synthetic)):
        raise ValueError(f"subsets of {size} from {len(real)} real and {len(synthetic)} synthetic images")
    return np.array(
        [
            kernel_distance(
                real=real[generator.choice(len(real), size, replace=False)],
                synthetic=synthetic[generator.choice(len(synthetic), size, replace=False)],
            )
            for _ in range(num_subsets)
        ]
    )
