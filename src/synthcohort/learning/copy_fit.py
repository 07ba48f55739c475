"""The copy detector's own training: copies planted in the training images, and what tells them from strangers.

Nothing here is a network: a linear description that small changes leave alone (for the search), and a logistic score of
how a registered pair agrees (for the verdict). Both are fitted in seconds to the very images that may be copied.

Shape suffixes: B images, X numbers of coarse detail, D numbers of a description, P pairs, F features, S rows and
columns (square).
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from synthcohort.learning.registration import blur

TURN, CROP, STRETCH = 6.0, 0.10, 0.04  # the largest changes planted: degrees, shares of the side
NOISE, BLUR, GAMMA, BLEND = 0.04, 0.8, 0.5, 0.35  # share of the range, pixels of 64, logarithm, share of another image
SHRINKAGE = 0.1  # of the variance within, towards its mean
RIDGE = 3.0  # pairs that speak for weights of zero


def _uniform(generator: np.random.Generator, low: float, high: float, count: int) -> Tensor:
    return torch.from_numpy(generator.uniform(low, high, count).astype(np.float32))


def random_transforms(generator: np.random.Generator, count: int, strength: float = 1.0, mirror: bool = True) -> Tensor:
    """Random turns, crops, stretches and mirrors: [B, 2, 3], from a place of the copy to the original's."""
    angle = _uniform(generator, -TURN, TURN, count) * (math.pi / 180 * strength)
    scale = 1 - _uniform(generator, 0, CROP, count) * strength
    x, y = (scale * torch.exp(_uniform(generator, -STRETCH, STRETCH, count) * strength) for _ in range(2))
    flip = torch.where(_uniform(generator, 0, 1, count) < 0.5, -1.0, 1.0) if mirror else torch.ones(count)
    shift = [_uniform(generator, -1, 1, count) * (1 - scale) for _ in range(2)]
    rows = [
        torch.stack([flip * x * angle.cos(), -flip * y * angle.sin(), shift[0]], 1),
        torch.stack([x * angle.sin(), y * angle.cos(), shift[1]], 1),
    ]
    return torch.stack(rows, 1)


def warped(x_B1SS: Tensor, transforms_B23: Tensor) -> Tensor:
    """Images seen through transforms, the border repeated."""
    grid = F.affine_grid(transforms_B23, list(x_B1SS.shape), align_corners=False)
    return F.grid_sample(x_B1SS, grid, mode="bicubic", padding_mode="border", align_corners=False)


def photographed(x_B1SS: Tensor, others_B1SS: Tensor, generator: np.random.Generator) -> Tensor:
    """Blended with others, blurred, of another gamma and window, noisy: each for a part of the images. In [-1, 1]."""
    B = len(x_B1SS)

    def some(low: float, high: float, share: float, none: float) -> Tensor:
        value, used = _uniform(generator, low, high, B), _uniform(generator, 0, 1, B) < share
        return torch.where(used, value, torch.tensor(none))[:, None, None, None]

    kept = some(1 - BLEND, 1, 0.6, 1.0)
    x = kept * x_B1SS + (1 - kept) * others_B1SS
    amount = some(0, 1, 0.3, 0.0)
    x = (1 - amount) * x + amount * blur(x, BLUR * x.shape[-1] / 64)
    unit = ((x + 1) / 2).clamp(0, 1) ** some(-GAMMA, GAMMA, 0.5, 0.0).exp()
    unit = (unit - 0.5) * some(0.7, 1.4, 0.5, 1.0) + 0.5 + some(-0.1, 0.1, 0.5, 0.0)
    noise = torch.from_numpy(generator.standard_normal(x.shape).astype(np.float32))
    return (unit + noise * some(0, NOISE, 0.5, 0.0)).clamp(0, 1) * 2 - 1


@dataclass(frozen=True)
class Projection:
    """A linear description of coarse detail: `mean` [X] is taken away, then `matrix` [X, D] applied."""

    mean: Tensor
    matrix: Tensor

    def __call__(self, x_BX: Tensor) -> Tensor:
        """Unit vectors [B, D]; of an image that shows nothing, nearly zero."""
        return F.normalize((x_BX - self.mean) @ self.matrix, dim=1, eps=1e-6)


@dataclass
class Moments:
    """Sums from which a mean and a covariance come, a batch at a time."""

    size: int

    def __post_init__(self) -> None:
        self.count, self.sum = 0, torch.zeros(self.size, dtype=torch.float64)
        self.products = torch.zeros(self.size, self.size, dtype=torch.float64)

    def add(self, x_BX: Tensor) -> None:
        self.count += len(x_BX)
        self.sum += x_BX.sum(0).double()
        self.products += (x_BX.T @ x_BX).double()

    @property
    def mean(self) -> Tensor:
        return self.sum / max(1, self.count)

    @property
    def covariance(self) -> Tensor:
        return self.products / max(1, self.count) - torch.outer(self.mean, self.mean)


def fit_projection(total: Moments, change: Moments, count: int) -> Projection:
    """The directions in which images differ much and a copy from its original little.

    Source: Fisher 1936, linear discriminants; the variance within is shrunk towards its mean.
    """
    size = total.size
    within = change.products / max(1, change.count)
    within += (SHRINKAGE * within.diagonal().mean() + 1e-6) * torch.eye(size, dtype=torch.float64)
    factor = torch.linalg.inv(torch.linalg.cholesky(within))
    vectors = torch.linalg.eigh(factor @ total.covariance @ factor.T).eigenvectors
    return Projection(total.mean.float(), (factor.T @ vectors[:, -min(count, size) :]).float())


@dataclass(frozen=True)
class Logistic:
    """A logistic score: features [F] are centered and scaled, then weighed."""

    center: np.ndarray
    scale: np.ndarray
    weights: np.ndarray
    bias: float

    def __call__(self, features_PF: np.ndarray) -> np.ndarray:
        """Log odds of being a copy: [P]."""
        return np.asarray((features_PF - self.center) / self.scale @ self.weights + self.bias)

    def to_json(self) -> dict[str, Any]:
        return {
            "center": self.center.tolist(),
            "scale": self.scale.tolist(),
            "weights": self.weights.tolist(),
            "bias": self.bias,
        }

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> "Logistic":
        center, scale, weights = (np.asarray(content[name], np.float64) for name in ("center", "scale", "weights"))
        return cls(center, scale, weights, float(content["bias"]))


def fit_logistic(copies_PF: np.ndarray, strangers_PF: np.ndarray, ridge: float = RIDGE) -> Logistic:
    """Newton's method; both sides count alike, however many pairs they have, and a ridge lets few pairs suffice."""
    x = np.concatenate([copies_PF, strangers_PF]).astype(np.float64)
    is_copy = np.r_[np.ones(len(copies_PF)), np.zeros(len(strangers_PF))]
    weight = np.where(is_copy > 0, 0.5 / len(copies_PF), 0.5 / len(strangers_PF)) * len(x)
    center, scale = x.mean(0), x.std(0) + 1e-6
    z = np.concatenate([(x - center) / scale, np.ones((len(x), 1))], 1)
    penalty = np.r_[np.full(x.shape[1], ridge), 1e-9]
    beta = np.zeros(z.shape[1])
    for _ in range(50):
        p = 1 / (1 + np.exp(-np.clip(z @ beta, -30, 30)))
        slope = z.T @ (weight * (p - is_copy)) + penalty * beta
        curve = (z * (weight * p * (1 - p))[:, None]).T @ z + np.diag(penalty)
        step = np.linalg.solve(curve, slope)
        beta -= step
        if np.abs(step).max() < 1e-6:
            break
    return Logistic(center, scale, beta[:-1], float(beta[-1]))
