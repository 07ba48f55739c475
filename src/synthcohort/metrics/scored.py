"""The metrics by name: METRICS[name](real=…, synthetic=…, floor=…) gives value, interval by patient and floor."""

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from synthcohort.metrics.distribution import (
    frechet_distance,
    frechet_left_out,
    kernel_sums,
    principal_directions,
)
from synthcohort.metrics.intervals import (
    Score,
    assign_folds,
    at_least_binomial,
    group_index,
    jackknife_interval,
    widened,
)
from synthcohort.metrics.neighbors import K, Neighborhoods, neighborhoods

# Folds of the jackknife. More folds are smaller, and then the curvature of the Fréchet distance inflates the interval.
FOLDS = 30
# Above this many dimensions the interval (never the value) of the Fréchet distance is found in principal directions.
INTERVAL_DIMS = 256

Groups = Sequence[Hashable] | np.ndarray


@dataclass(frozen=True)
class Sample:
    """Features [N, D], the fold of each image (folds hold whole patients), and the number of patients."""

    features: np.ndarray
    folds: np.ndarray
    num_groups: int


def sample(features: np.ndarray, groups: Groups | None = None, folds: int = FOLDS, seed: int = 0) -> Sample:
    """A sample whose independent units are `groups` (patients); None: every image is one."""
    features = np.asarray(features, np.float64)
    groups = np.arange(len(features)) if groups is None else groups
    return Sample(features, assign_folds(groups, folds, seed), int(group_index(groups).max()) + 1)


def frechet_score(*, real: Sample, synthetic: Sample, confidence: float = 0.95) -> Score:
    """Fréchet distance in all dimensions; interval by jackknife, in at most INTERVAL_DIMS principal directions.

    What the projection leaves out is made up for by stretching the error by value / projected value.
    """
    value = frechet_distance(real=real.features, synthetic=synthetic.features)
    a, b, scale = real.features, synthetic.features, 1.0
    if a.shape[1] > INTERVAL_DIMS:
        directions = principal_directions(np.concatenate([a, b]), INTERVAL_DIMS)
        a, b = a @ directions, b @ directions
        projected = frechet_distance(real=a, synthetic=b)
        scale = max(1.0, value / projected) if projected > 0 else 1.0
    left_out = frechet_left_out(real=a, synthetic=b, real_folds=real.folds, synthetic_folds=synthetic.folds)
    return jackknife_interval(value, *left_out, confidence=confidence, lowest=0.0, scale=scale)


def kernel_score(*, real: Sample, synthetic: Sample, confidence: float = 0.95) -> Score:
    """Kernel distance with its jackknife interval."""
    sums = kernel_sums(
        real=real.features, synthetic=synthetic.features, real_folds=real.folds, synthetic_folds=synthetic.folds
    )
    return jackknife_interval(sums.value(), *sums.left_out(), confidence=confidence)


def neighborhoods_of(*, real: Sample, synthetic: Sample, k: int = K) -> Neighborhoods:
    """The one pass that precision, recall, density and coverage share."""
    return neighborhoods(
        real=real.features, synthetic=synthetic.features, real_folds=real.folds, synthetic_folds=synthetic.folds, k=k
    )


def neighbor_score(
    name: str, table: Neighborhoods, *, real: Sample, synthetic: Sample, confidence: float = 0.95
) -> Score:
    """One of precision, recall, density, coverage with its jackknife interval, for shares at least the binomial one."""
    parts = table.left_out(name)
    if name == "density":
        return jackknife_interval(table.value(name), *parts, confidence=confidence, lowest=0.0)
    score = jackknife_interval(table.value(name), *parts, confidence=confidence, lowest=0.0, highest=1.0)
    return at_least_binomial(score, (synthetic if name == "precision" else real).num_groups, confidence)


def coverage_ratio(table: Neighborhoods, floor: Neighborhoods, *, num_groups: int, confidence: float = 0.95) -> Score:
    """Coverage over the coverage of real against real, both of the same reference images.

    The reference's folds are left out of both at once: what both owe to the reference cancels. `num_groups` counts
    the patients of the reference.
    """
    name = "coverage"
    if len(table.real_folds) != len(floor.real_folds) or (table.real_folds != floor.real_folds).any():
        raise ValueError("the ratio needs the same reference images in the same folds")
    value, base = table.value(name), floor.value(name)
    if not base > 0:
        return Score(None)
    (table_real, table_other), (floor_real, floor_other) = table.left_out(name), floor.left_out(name)
    with np.errstate(divide="ignore", invalid="ignore"):
        parts = (table_real / floor_real, table_other / base, value / floor_other)
    score = jackknife_interval(value / base, *parts, confidence=confidence, lowest=0.0)
    share = at_least_binomial(Score(value, value, value), num_groups, confidence)
    return widened(score, (share.low or 0.0) / base, (share.high or 0.0) / base)


def _neighbor(*, real: Sample, synthetic: Sample, confidence: float = 0.95, name: str) -> Score:
    table = neighborhoods_of(real=real, synthetic=synthetic)
    return neighbor_score(name, table, real=real, synthetic=synthetic, confidence=confidence)


def _named(score: Callable[..., Score]) -> Callable[..., Score]:
    def metric(
        *,
        real: np.ndarray,
        synthetic: np.ndarray,
        floor: np.ndarray | None = None,
        real_patients: Groups | None = None,
        synthetic_patients: Groups | None = None,
        floor_patients: Groups | None = None,
        confidence: float = 0.95,
        seed: int = 0,
    ) -> Score:
        """Features [N, D] in, Score out; `floor`: as many other real images as there are synthetic ones."""
        if floor is not None and len(floor) != len(synthetic):
            raise ValueError(f"floor of {len(floor)} images for {len(synthetic)} synthetic ones; needed: as many")
        reference = sample(real, real_patients, seed=seed)
        result = score(
            real=reference, synthetic=sample(synthetic, synthetic_patients, seed=seed), confidence=confidence
        )
        if floor is None:
            return result
        other = sample(floor, floor_patients, seed=seed)
        return replace(result, floor=score(real=reference, synthetic=other, confidence=confidence))

    return metric


METRICS: dict[str, Callable[..., Score]] = {
    "frechet_distance": _named(frechet_score),
    "kernel_distance": _named(kernel_score),
    "precision": _named(partial(_neighbor, name="precision")),
    "recall": _named(partial(_neighbor, name="recall")),
    "density": _named(partial(_neighbor, name="density")),
    "coverage": _named(partial(_neighbor, name="coverage")),
}
