"""Who reads a label: a network and a regression on natural-image features, both fitted on real training images.

They see different things, so that together they read better than either: their log odds are added. Both are told to
forget how frequent the classes are, for skill is balanced over them.
"""

from dataclasses import dataclass

import numpy as np

from synthcohort.metrics.logistic import Logistic, balanced_weights, fit_logistic
from synthcohort.metrics.principal import Principal

DIMENSIONS = 128  # principal directions of the training images' features
RIDGE = 10.0
LEAST = 1e-9  # a probability below it counts as this


@dataclass(frozen=True)
class LabelReader:
    """`frequencies` [K] of the classes that the network was fitted on; `directions` of the features."""

    frequencies: np.ndarray
    directions: Principal
    regression: Logistic

    @classmethod
    def fit(cls, features: np.ndarray, classes: np.ndarray, num_classes: int) -> "LabelReader":
        """From training images' features [N, D] and classes [N]; raises ValueError for fewer than two classes."""
        directions = Principal.fit(features, DIMENSIONS)
        regression = fit_logistic(directions(features), classes, num_classes, RIDGE, balanced_weights(classes))
        frequencies = np.bincount(classes, minlength=num_classes) / len(classes)
        return cls(frequencies, directions, regression)

    def read(self, probabilities: np.ndarray, features: np.ndarray) -> np.ndarray:
        """The class [N] that the network's probabilities [N, K] and the features [N, D] speak for.

        A class that no training image has is never read.
        """
        seen = self.frequencies > 0
        network = np.log(np.maximum(probabilities[:, seen], LEAST)) - np.log(self.frequencies[seen])
        regression = self.regression.probabilities(self.directions(features))[:, seen]
        return np.flatnonzero(seen)[(network + np.log(np.maximum(regression, LEAST))).argmax(axis=1)]
