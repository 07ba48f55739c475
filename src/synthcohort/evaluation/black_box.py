"""Black-box attacks on membership: of an outsider who has the synthetic images and some of strangers.

Words: *reference* images are of patients in no training, whom the attacker knows (validation patients); *queries* are
the images whose membership is attacked; a *space* is where distances are taken. No space may have been fitted on
training images: such features know their own training images, and would tell members without any synthetic image.
Shape suffixes: Q queries, V views of a query (as it is, and mirrored where the space sees mirrors as other images), D.
"""

import numpy as np
from scipy.special import logsumexp

DENSITY_DIMENSIONS = 8  # kernel density estimates of a few hundred images mean nothing in more
JUDGE_DIMENSIONS = 32
CHUNK = 512


def nearest_distances(queries_QVD: np.ndarray, images: np.ndarray) -> np.ndarray:
    """Euclidean distance of each query, in the best of its views, to the nearest of the images [N, D]: [Q]."""
    images = np.asarray(images, np.float64)
    norms = np.einsum("nd,nd->n", images, images)
    result = np.empty(len(queries_QVD))
    for start in range(0, len(queries_QVD), CHUNK):
        block = np.asarray(queries_QVD[start : start + CHUNK], np.float64)
        best = np.full(len(block), np.inf)
        for view in range(block.shape[1]):
            x = block[:, view]
            squares = np.einsum("qd,qd->q", x, x)[:, None] + norms[None, :] - 2 * x @ images.T
            best = np.minimum(best, squares.min(axis=1))
        result[start : start + CHUNK] = np.sqrt(np.maximum(best, 0.0))
    return result


class Whitening:
    """The first principal directions of the reference images, scaled to unit variance."""

    def __init__(self, reference: np.ndarray, dimensions: int) -> None:
        reference = np.asarray(reference, np.float64)
        self.mean = reference.mean(axis=0)
        centered = reference - self.mean
        wide = centered.shape[1] > len(centered)  # the smaller of both products has all there is to know
        squares, vectors = np.linalg.eigh(centered @ centered.T if wide else centered.T @ centered)
        order = np.argsort(-squares)[: min(dimensions, centered.shape[1], len(centered) - 1)]
        spread = np.sqrt(np.maximum(squares[order], 1e-18 * max(float(squares.max()), 1e-300)))
        directions = centered.T @ vectors[:, order] / spread if wide else vectors[:, order]
        self.map = directions / (spread / np.sqrt(len(centered) - 1))

    def __call__(self, features: np.ndarray) -> np.ndarray:
        return (np.asarray(features, np.float64) - self.mean) @ self.map


def log_density(points: np.ndarray, centers: np.ndarray, bandwidth: float) -> np.ndarray:
    """Log of a Gaussian kernel density estimate at points [Q, D], without its constant."""
    norms = np.einsum("nd,nd->n", centers, centers)
    parts = []
    for start in range(0, len(points), CHUNK):
        x = points[start : start + CHUNK]
        squares = np.einsum("qd,qd->q", x, x)[:, None] + norms[None, :] - 2 * x @ centers.T
        parts.append(logsumexp(-squares / (2 * bandwidth**2), axis=1))
    return np.concatenate(parts) - np.log(len(centers))


def density_ratio(synthetic: np.ndarray, reference: np.ndarray, queries_QVD: np.ndarray) -> np.ndarray:
    """Log of the synthetic images' density over the reference images', at each query in whitened space: [Q].

    Both with one bandwidth, Scott's of the smaller set. Source: van Breugel et al. 2023 (DOMIAS).
    """
    made, known = synthetic[:, :DENSITY_DIMENSIONS], reference[:, :DENSITY_DIMENSIONS]
    bandwidth = min(len(made), len(known)) ** (-1 / (made.shape[1] + 4))
    views = [queries_QVD[:, view, :DENSITY_DIMENSIONS] for view in range(queries_QVD.shape[1])]
    sides = [np.max([log_density(view, centers, bandwidth) for view in views], axis=0) for centers in (made, known)]
    return sides[0] - sides[1]


def judge_scores(synthetic: np.ndarray, reference: np.ndarray, queries_QVD: np.ndarray) -> np.ndarray:
    """How synthetic a linear discriminant of synthetic against reference images finds each query: [Q].

    Source: Hayes et al. 2019 (LOGAN, black-box with auxiliary knowledge), with a discriminant in closed form.
    """
    within = (np.cov(synthetic, rowvar=False) + np.cov(reference, rowvar=False)).reshape(synthetic.shape[1], -1) / 2
    direction = np.linalg.solve(within + 0.1 * np.eye(len(within)), synthetic.mean(axis=0) - reference.mean(axis=0))
    return (queries_QVD @ direction).mean(axis=1)


def attack_scores(
    space: str, synthetic: np.ndarray, reference: np.ndarray, queries_QVD: np.ndarray, linear: bool = False
) -> dict[str, np.ndarray]:
    """Scores [Q] of each attack in one space, larger for likelier members: {attack: scores}.

    Vectors are centered on the reference images and brought to unit length: distances are those of directions.

    nearest     minus the distance to the nearest synthetic image
    calibrated  log of the distance to the nearest reference image over that: an image that is near to everything
                is near to the synthetic images too. Source: Chen et al. 2020 (GAN-Leaks, calibrated attack)
    density     `density_ratio`
    linear      `judge_scores`, on request
    """
    center = np.asarray(reference, np.float64).mean(axis=0)
    made, known, asked = (_unit(part - center) for part in (synthetic, reference, queries_QVD))
    near, usual = nearest_distances(asked, made), nearest_distances(asked, known)
    least = 1e-3 * float(np.median(usual)) + 1e-12  # a distance of zero is a find, not an infinite one
    whiten = Whitening(known, JUDGE_DIMENSIONS)
    white = whiten(made), whiten(known), whiten(asked)
    scores = {
        f"nearest in {space}": -near,
        f"nearest against strangers in {space}": np.log((usual + least) / (near + least)),
        f"density in {space}": density_ratio(*white),
    }
    if linear:
        scores[f"discriminator in {space}"] = judge_scores(*white)
    return scores


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-12)
