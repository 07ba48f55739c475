"""Principal directions: the few numbers in which features differ most."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Principal:
    """`center` [D] and `directions` [D, d], widest first; calling it projects features [N, D] to [N, d]."""

    center: np.ndarray
    directions: np.ndarray

    @classmethod
    def fit(cls, features: np.ndarray, most: int) -> "Principal":
        """At most so many directions of features [N, D], fewer where there are fewer images."""
        center = features.mean(axis=0, dtype=np.float64)
        x = features - center
        values, vectors = np.linalg.eigh(x.T @ x / len(x))
        return cls(center, vectors[:, np.argsort(-values)[: min(most, len(x) - 1)]])

    def __call__(self, features: np.ndarray) -> np.ndarray:
        return np.asarray((np.asarray(features, np.float64) - self.center) @ self.directions)
