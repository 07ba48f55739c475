"""Logistic regression with a ridge: the cheapest reader of features, fitted in a moment and without a random draw."""

from dataclasses import dataclass

import numpy as np
from scipy import optimize, special


@dataclass(frozen=True)
class Logistic:
    """Standardization and coefficients: `logits(x)` is [N, K]."""

    center: np.ndarray  # [D]
    scale: np.ndarray  # [D]
    weights: np.ndarray  # [D, K]
    bias: np.ndarray  # [K]

    def logits(self, x: np.ndarray) -> np.ndarray:
        return (np.asarray(x, np.float64) - self.center) / self.scale @ self.weights + self.bias

    def probabilities(self, x: np.ndarray) -> np.ndarray:
        """Class probabilities [N, K]; a class that was not there when it was fitted gets 0."""
        return np.asarray(special.softmax(self.logits(x), axis=1))


def fit_logistic(
    x: np.ndarray, classes: np.ndarray, num_classes: int, ridge: float = 1.0, weights: np.ndarray | None = None
) -> Logistic:
    """Least of Σ w · cross-entropy + ridge/2 · |coefficients|² over standardized features [N, D].

    Raises ValueError for fewer than two classes among the labels.
    """
    x, classes = np.asarray(x, np.float64), np.asarray(classes, np.int64)
    present = np.unique(classes)
    if len(present) < 2:
        raise ValueError(f"{len(present)} class to learn; needed: 2 or more")
    w = np.ones(len(x)) if weights is None else np.asarray(weights, np.float64)
    center, scale = x.mean(axis=0), x.std(axis=0)
    scale = np.where(scale > 1e-9, scale, 1.0)
    z = (x - center) / scale
    targets = (classes[:, None] == present).astype(np.float64)
    shape = (z.shape[1] + 1, len(present))

    def loss(flat: np.ndarray) -> tuple[float, np.ndarray]:
        theta = flat.reshape(shape)
        logits = z @ theta[:-1] + theta[-1]
        logp = logits - special.logsumexp(logits, axis=1, keepdims=True)
        residual = w[:, None] * (np.exp(logp) - targets)
        gradient = np.concatenate([z.T @ residual + ridge * theta[:-1], residual.sum(axis=0, keepdims=True)])
        value = -float((w[:, None] * targets * logp).sum()) + 0.5 * ridge * float(np.square(theta[:-1]).sum())
        return value / total, gradient.ravel() / total

    total = float(w.sum())  # so that the tolerance does not depend on the number of images
    options = {"maxiter": 300, "ftol": 1e-9, "gtol": 1e-5}
    found = optimize.minimize(loss, np.zeros(shape).ravel(), jac=True, method="L-BFGS-B", options=options)
    theta = found.x.reshape(shape)
    full, bias = np.zeros((z.shape[1], num_classes)), np.full(num_classes, -np.inf)
    full[:, present], bias[present] = theta[:-1], theta[-1]
    return Logistic(center, scale, full, bias)


def balanced_weights(classes: np.ndarray, power: float = 1.0) -> np.ndarray:
    """Frequency ** -power of each label's class, mean 1: [N]."""
    counts = np.bincount(classes)
    weights = np.maximum(counts, 1).astype(np.float64)[classes] ** -power
    return np.asarray(weights * len(weights) / weights.sum())
