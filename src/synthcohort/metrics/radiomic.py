"""Fréchet radiomics distance (FRD): the Fréchet distance d of radiomic features standardized by the real ones.

Two readings are in use: the paper takes log d, the package frd-score by default log d², which is twice as much.
Source: Konz et al. 2025 (2412.01496), equation 3; the features here are imaging.radiomics, so figures of other feature
sets are not comparable.
"""

import numpy as np

from synthcohort.metrics.distribution import checked, frechet_distance, frechet_left_out
from synthcohort.metrics.intervals import Score, jackknife_interval
from synthcohort.metrics.scored import Sample


def standardized(reference: np.ndarray, *others: np.ndarray) -> list[np.ndarray]:
    """Features less the reference's mean, over its standard deviation; features constant in the reference are left out.

    Returns [reference, *others]. Raises ValueError when all are constant.
    """
    reference = checked(reference, "reference")
    mean, std = reference.mean(axis=0), reference.std(axis=0)
    kept = std > 1e-12 * np.maximum(np.abs(mean), 1e-300)
    if not kept.any():
        raise ValueError("every radiomic feature is constant among the real images")
    return [(np.asarray(x, np.float64)[:, kept] - mean[kept]) / std[kept] for x in (reference, *others)]


def radiomics_distance(*, real: np.ndarray, synthetic: np.ndarray, squared: bool) -> float:
    """log d² (`squared`, the package's reading) or log d (the paper's) from radiomic features [N, K], [M, K].

    Minus infinity when the distributions' means and covariances are equal.
    """
    distance = frechet_distance(**dict(zip(("real", "synthetic"), standardized(real, synthetic), strict=True)))
    with np.errstate(divide="ignore"):
        value = float(np.log(distance))
    return value if squared else value / 2


def radiomics_distance_interval(*, real: Sample, synthetic: Sample, squared: bool, confidence: float = 0.95) -> Score:
    """The distance of features that are standardized already, with its jackknife interval on the logarithmic scale."""
    value = frechet_distance(real=real.features, synthetic=synthetic.features)
    left_out = frechet_left_out(
        real=real.features, synthetic=synthetic.features, real_folds=real.folds, synthetic_folds=synthetic.folds
    )
    if not (value > 0 and all((part > 0).all() for part in left_out)):
        return Score(None)
    factor = 1.0 if squared else 0.5
    return jackknife_interval(
        factor * float(np.log(value)), *(factor * np.log(part) for part in left_out), confidence=confidence
    )
