"""Fidelity: how near synthetic images are to real test patients in an encoder's features, beside a real-vs-real floor.

The reference is the test split. The floor is the same figure for as many real training images, drawn by whole patients.
Every interval is a jackknife over patients (real) and images (synthetic): docs/decisions/0010.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from synthcohort.evaluation.entries import CONFIDENCE, entry
from synthcohort.evaluation.inputs import sample_patients
from synthcohort.metrics.intervals import Score
from synthcohort.metrics.neighbors import K, Neighborhoods
from synthcohort.metrics.scored import (
    Sample,
    coverage_ratio,
    frechet_score,
    kernel_score,
    neighbor_score,
    neighborhoods_of,
    sample,
)

# Below this number of images in a class its Fréchet distance says more about the number than about the images.
LEAST_FRECHET = 100


@dataclass(frozen=True)
class Figure:
    """How a metric is named and read."""

    title: str
    better: Literal["lower", "higher", "none"]
    good: str


FIGURES: dict[str, Figure] = {
    "frechet_distance": Figure(
        "Fréchet distance",
        "lower",
        "Good is close to the floor, which is the distance between two groups of real patients of the same sizes.",
    ),
    "kernel_distance": Figure(
        "Kernel distance",
        "lower",
        "Good is close to the floor, near zero: they can't be told from real ones by any cubic feature statistic.",
    ),
    "precision": Figure(
        "Precision", "higher", "Good is close to the floor: each synthetic image looks like some real patient's image."
    ),
    "recall": Figure(
        "Recall",
        "higher",
        "Good is close to the floor: each real patient's image lies amid synthetic ones.",
    ),
    "density": Figure(
        "Density", "higher", "Good is close to the floor: synthetic images lie where real images are common."
    ),
    "coverage": Figure(
        "Coverage", "higher", "Good is close to the floor: each real patient's image has a synthetic one near by."
    ),
    "coverage_ratio": Figure(
        "Variety reached",
        "higher",
        "Good is close to 1: the synthetic images reach as many real patients as real training images do.",
    ),
}
WHOLE = ("frechet_distance", "kernel_distance", "precision", "recall", "density", "coverage")
BY_CLASS = ("frechet_distance", "kernel_distance", "precision", "coverage")


@dataclass(frozen=True)
class Seen:
    """Images as an encoder sees them: features [N, D], what each depends on, and its class (-1: none)."""

    features: np.ndarray
    owners: Sequence[str]
    classes: np.ndarray

    def take(self, chosen: np.ndarray) -> "Seen":
        owners = np.asarray(self.owners)[chosen].tolist()
        return Seen(self.features[chosen], owners, self.classes[chosen])

    def of_class(self, number: int) -> "Seen":
        return self.take(np.flatnonzero(self.classes == number))

    def sample(self, folds: int, seed: int) -> Sample:
        return sample(self.features, self.owners, folds, seed)


@dataclass(frozen=True)
class Comparison:
    """Reference, synthetic images and floor, and who lies in whose neighbourhood: both against the reference."""

    real: Sample
    made: Sample
    base: Sample
    table: Neighborhoods
    floor_table: Neighborhoods

    def score(self, name: str) -> Score:
        """A figure with its floor."""
        if name in ("frechet_distance", "kernel_distance"):
            function = frechet_score if name == "frechet_distance" else kernel_score
            score, under = function(real=self.real, synthetic=self.made), function(real=self.real, synthetic=self.base)
        else:
            score = neighbor_score(name, self.table, real=self.real, synthetic=self.made)
            under = neighbor_score(name, self.floor_table, real=self.real, synthetic=self.base)
        return replace(score, floor=under)

    def reached(self, num_groups: int, among: np.ndarray | None = None, confidence: float = CONFIDENCE) -> Score:
        """Coverage over its floor, on request among some images of the reference only."""
        tables = (self.table, self.floor_table)
        chosen = tables if among is None else tuple(table.among(among) for table in tables)
        return coverage_ratio(chosen[0], chosen[1], num_groups=num_groups, confidence=confidence)


def compare(reference: Seen, synthetic: Seen, floor: Seen, folds: int, seed: int) -> Comparison:
    """Raises ValueError unless the floor has as many images as the synthetic side."""
    if len(floor.owners) != len(synthetic.owners):
        raise ValueError(f"floor of {len(floor.owners)} images for {len(synthetic.owners)} synthetic ones")
    real, made, base = (side.sample(folds, seed) for side in (reference, synthetic, floor))
    tables = (neighborhoods_of(real=real, synthetic=other) for other in (made, base))
    return Comparison(real, made, base, *tables)


def whole_entries(
    encoder: str, reference: Seen, synthetic: Seen, floor: Seen, folds: int, seed: int
) -> list[dict[str, Any]]:
    """The figures of all images."""
    compared = compare(reference, synthetic, floor, folds, seed)
    return [_entry(name, compared.score(name), encoder, None, reference, synthetic) for name in WHOLE]


def reached_entries(
    encoder: str,
    label: str,
    values: Sequence[Any],
    reference: Seen,
    synthetic: Seen,
    floor: Seen,
    least: int,
    folds: int,
    seed: int,
) -> list[dict[str, Any]]:
    """The variety reached, of all test images and of those of each class: what the coverage family judges.

    The classes share an error of 5 %: the interval of each is at 1 - 0.05 / number of classes.
    """
    compared = compare(reference, synthetic, floor, folds, seed)
    whole = compared.reached(compared.real.num_groups)
    entries = [_entry("coverage_ratio", whole, encoder, None, reference, synthetic, family="coverage")]
    enough = [number for number in range(len(values)) if (reference.classes == number).sum() >= least]
    for number in enough:
        among = reference.classes == number
        part = reference.take(np.flatnonzero(among))
        confidence = 1 - (1 - CONFIDENCE) / len(enough)
        score = compared.reached(len(set(part.owners)), among, confidence)
        name = "coverage_ratio"
        subset = f"{label}={values[number]}"
        entries.append(_entry(name, score, encoder, subset, part, synthetic, family="coverage", confidence=confidence))
    return entries


def class_entries(
    encoder: str,
    label: str,
    values: Sequence[Any],
    reference: Seen,
    synthetic: Seen,
    train: Seen,
    least: int,
    folds: int,
    seed: int,
) -> list[dict[str, Any]]:
    """The figures of each class with enough images on every side; synthetic ones are cut to the floor's number."""
    entries: list[dict[str, Any]] = []
    for number, value in enumerate(values):
        sides = [side.of_class(number) for side in (reference, synthetic, train)]
        count = min(len(sides[1].owners), len(sides[2].owners))
        if min(len(sides[0].owners), count) < max(least, K + 1):
            continue
        made = sides[1].take(np.arange(count))
        base = sides[2].take(sample_patients(sides[2].owners, count, "class floor", seed))
        names = BY_CLASS if min(len(sides[0].owners), count) >= LEAST_FRECHET else BY_CLASS[1:]
        compared = compare(sides[0], made, base, folds, seed)
        subset = f"{label}={value}"
        entries.extend(_entry(name, compared.score(name), encoder, subset, sides[0], made) for name in names)
    return entries


def _entry(
    name: str,
    score: Score,
    encoder: str,
    subset: str | None,
    reference: Seen,
    synthetic: Seen,
    family: str | None = None,
    confidence: float = CONFIDENCE,
) -> dict[str, Any]:
    figure = FIGURES[name]
    computed_on = f"{reference.features.shape[1]} features of each image"
    if encoder == "self_trained":
        computed_on += "; the floor's training images are those the encoder was fitted on"
    return entry(
        name,
        title=figure.title,
        group="fidelity",
        family=family,
        encoder=encoder,
        subset=subset,
        score=score,
        n_real=len(reference.owners),
        n_synthetic=len(synthetic.owners),
        better=figure.better,
        good=figure.good,
        computed_on=computed_on,
        confidence=confidence,
    )
