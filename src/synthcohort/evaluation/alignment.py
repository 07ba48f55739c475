"""Alignment: does an image show what its label says? A reader fitted on real training images reads the prompted label
(label_reader).

The figure beside it is the same reader on real test images; how well the reader reads at all bounds what it can tell.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from synthcohort.core.seeds import rng
from synthcohort.evaluation.entries import entry
from synthcohort.metrics.classification import accuracy_of, confusion, kappa_of, recalls_of
from synthcohort.metrics.intervals import (
    Score,
    at_least_binomial,
    bootstrap_interval,
    clopper_pearson,
    group_index,
    widened,
)

LEAST_IN_CLASS = 5  # a class with fewer images on either side says nothing about skill


@dataclass(frozen=True)
class Reading:
    """True (or prompted) and predicted classes of images, with what each image depends on."""

    truth: np.ndarray
    predicted: np.ndarray
    owners: Sequence[str]

    def resampled(self, num_classes: int, resamples: int, *purpose: str | int) -> np.ndarray:
        """Confusion matrices of resamples of whole owners: [resamples, C, C]."""
        index = group_index(self.owners)
        cells = np.zeros((int(index.max()) + 1, num_classes * num_classes))
        np.add.at(cells, (index, self.truth * num_classes + self.predicted), 1)
        generator = rng("alignment", *purpose)
        draws = np.stack(
            [np.bincount(generator.integers(0, len(cells), len(cells)), minlength=len(cells)) for _ in range(resamples)]
        )
        return (draws @ cells).reshape(resamples, num_classes, num_classes)

    def counts(self, num_classes: int) -> np.ndarray:
        return confusion(truth=self.truth, predicted=self.predicted, num_classes=num_classes)


@dataclass(frozen=True)
class Skill:
    """Balanced accuracy beyond chance of the reader on real test images and on synthetic ones, and their ratio."""

    real: Score
    synthetic: Score
    ratio: Score
    classes: tuple[int, ...]  # those with enough images on both sides


def skill_of(counts: np.ndarray, classes: Sequence[int]) -> float:
    """(mean recall - 1/C) / (1 - 1/C) over the given classes: 0 is guessing, 1 is perfect, at any mix of classes."""
    chosen = list(classes)
    if len(chosen) < 2:
        return float("nan")
    mean = float(recalls_of(counts)[chosen].mean())
    chance = 1 / len(counts)
    return (mean - chance) / (1 - chance)


def least_error(counts: np.ndarray, classes: Sequence[int]) -> float:
    """The error of the skill if all images were independent, from the exact intervals of each class's recall.

    Resampling sees no spread where a class is read without any miss.
    """
    if len(classes) < 2:
        return float("nan")
    widths = []
    for number in classes:
        low, high = clopper_pearson(counts[number, number], int(counts[number].sum()))
        widths.append((high - low) / (2 * 1.96))
    return float(np.linalg.norm(widths)) / len(classes) / (1 - 1 / len(counts))


def recall_of(counts: np.ndarray, number: int) -> float:
    """Recall of one class."""
    return float(recalls_of(counts)[number])


def scored(
    reading: Reading, statistic: Callable[[np.ndarray], float], num_classes: int, resamples: int, *purpose: str | int
) -> Score:
    """A statistic of the confusion matrix with its interval over resampled owners."""
    draws = np.array([statistic(counts) for counts in reading.resampled(num_classes, resamples, *purpose)])
    return bootstrap_interval(statistic(reading.counts(num_classes)), draws)


def measure_skill(real: Reading, synthetic: Reading, num_classes: int, resamples: int, seed: int) -> Skill:
    """The reader's skill on both sides over the classes both have; the sides are resampled independently."""
    sides = (real, synthetic)
    enough = [np.bincount(side.truth, minlength=num_classes) >= LEAST_IN_CLASS for side in sides]
    classes = tuple(int(c) for c in np.flatnonzero(enough[0] & enough[1]))
    values = [skill_of(side.counts(num_classes), classes) for side in sides]
    draws = [
        np.array([skill_of(counts, classes) for counts in side.resampled(num_classes, resamples, name, "skill", seed)])
        for side, name in zip(sides, ("real", "synthetic"), strict=True)
    ]
    positive = draws[0] > 0
    ratios = np.where(positive, draws[1] / np.where(positive, draws[0], 1.0), np.nan)
    errors = [least_error(side.counts(num_classes), classes) for side in sides]
    skills = [
        widened(bootstrap_interval(value, drawn), value - 1.96 * error, min(1.0, value + 1.96 * error))
        for value, drawn, error in zip(values, draws, errors, strict=True)
    ]
    if not (skills[0].low or 0.0) > 0:  # a ratio to a reader who may be guessing means nothing
        return Skill(skills[0], skills[1], Score(None), classes)
    ratio = values[1] / values[0]
    spread = 1.96 * float(np.hypot(errors[1], ratio * errors[0])) / values[0]
    score = widened(bootstrap_interval(ratio, ratios), ratio - spread, ratio + spread)
    return Skill(skills[0], skills[1], score, classes)


def entries(
    label: str, kind: str, values: Sequence[Any], real: Reading, synthetic: Reading, resamples: int, seed: int
) -> tuple[list[dict[str, Any]], Skill]:
    """Accuracy, agreement of grades, recall by class, and the skill ratio that the label_truth family judges."""
    num = len(values)
    computed_on = (
        f"a network and a regression on natural-image features, fitted on real training images, read {label} together; "
        "floor: the same on real test images"
    )
    figures: list[tuple[str, str, str | None, Callable[[np.ndarray], float]]] = [
        ("prompt_accuracy", "Label read as prompted", None, accuracy_of)
    ]
    if kind == "ordinal":
        figures.append(("prompt_kappa", "Grade read as prompted (quadratic κ)", None, kappa_of))
    for number, value in enumerate(values):
        if (real.truth == number).sum() >= LEAST_IN_CLASS and (synthetic.truth == number).sum() >= LEAST_IN_CLASS:
            figures.append(
                ("prompt_recall", "Label read as prompted", f"{label}={value}", partial(recall_of, number=number))
            )
    result = []
    for name, title, subset, statistic in figures:
        made, floor = (
            scored(side, statistic, num, resamples, which, name, subset or "", seed)
            for side, which in ((synthetic, "synthetic"), (real, "real"))
        )
        if name != "prompt_kappa":
            made = at_least_binomial(made, _members(synthetic, values, label, subset))
            floor = at_least_binomial(floor, _members(real, values, label, subset))
        result.append(
            entry(
                name,
                title=title,
                group="alignment",
                score=made,
                floor=floor,
                subset=subset,
                n_real=_members(real, values, label, subset),
                n_synthetic=_members(synthetic, values, label, subset),
                better="higher",
                good="Good is close to the floor: the classifier reads the synthetic images as well as real ones.",
                computed_on=computed_on,
            )
        )
    skill = measure_skill(real, synthetic, num, resamples, seed)
    result.append(
        entry(
            "label_skill_ratio",
            title="Reader's skill, synthetic over real",
            group="alignment",
            family="label_truth",
            score=skill.ratio,
            n_real=len(real.truth),
            n_synthetic=len(synthetic.truth),
            better="higher",
            good="Good is close to 1: balanced accuracy beyond chance is the same on synthetic and real test images.",
            computed_on=computed_on
            + ("" if skill.ratio.value is not None else "; no ratio: the reader may be guessing on real images"),
        )
    )
    return result, skill


def _members(side: Reading, values: Sequence[Any], label: str, subset: str | None) -> int:
    if subset is None:
        return len(side.truth)
    names = [f"{label}={value}" for value in values]
    return int((side.truth == names.index(subset)).sum())
