"""The three sets of images that fidelity compares, and the parts of them (classes, image types) that get figures."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from synthcohort.core.cohort import Cohort
from synthcohort.evaluation.config import EvaluateConfig
from synthcohort.evaluation.entries import CONFIDENCE, entry
from synthcohort.evaluation.inputs import Inputs, patients, sample_images, sample_patients
from synthcohort.metrics.intervals import Score

if TYPE_CHECKING:
    from synthcohort.evaluation.encoding import Eyes


@dataclass(frozen=True)
class Figure:
    """How a figure is named and read; `good` is one sentence for a clinician."""

    title: str
    better: Literal["lower", "higher", "none"]
    good: str


@dataclass(frozen=True)
class Sides:
    """Real test images, synthetic images, and as many real training images as there are synthetic ones (the floor)."""

    reference: Cohort
    synthetic: Cohort
    floor: Cohort

    def views(self) -> tuple[Cohort, Cohort, Cohort]:
        return self.reference, self.synthetic, self.floor

    def sampled(self, count: int, seed: int) -> "Sides":
        """At most `count` images of each side; the real sides lose whole patients."""
        real = [
            view.select(indices=sample_patients(patients(view), count, "fidelity", role, seed))
            if len(view) > count
            else view
            for view, role in ((self.reference, "test"), (self.floor, "floor"))
        ]
        return Sides(real[0], sample_images(self.synthetic, count, "fidelity", seed), real[1])


def sides_of(inputs: Inputs, eyes: "Eyes", config: EvaluateConfig, seed: int) -> Sides:
    """The very images that every other figure of the evaluation is computed on, so that encoders see them once."""
    count = min(config.max_images, len(inputs.synthetic), len(eyes.train))
    chosen = sample_patients(patients(eyes.train), count, seed, "floor")
    return Sides(
        sample_images(eyes.test, config.max_images, seed, "test"),
        sample_images(inputs.synthetic, count, seed, "synthetic"),
        eyes.train.select(indices=chosen),
    )


@dataclass(frozen=True)
class Part:
    """Positions of one class or image type on each side; synthetic and floor have equally many."""

    subset: str
    reference: np.ndarray
    synthetic: np.ndarray
    floor: np.ndarray


def image_types(view: Cohort) -> list[str]:
    """What kind of image each is: modality, body part and view, as far as they are known."""
    columns = [view.column(name) for name in ("modality", "body_part", "view")]
    return [" ".join(str(value) for value in values if value is not None) for values in zip(*columns, strict=True)]


def parts_of(inputs: Inputs, sides: Sides, least: int, seed: int) -> list[Part]:
    """The classes, and the image types where there are several, that have `least` images on every side."""
    kinds: list[tuple[str, tuple[np.ndarray, ...], Sequence[Any]]] = []
    if inputs.label is not None:
        classes = tuple(inputs.classes(view) for view in sides.views())
        kinds.append((inputs.label.name, classes, [str(value) for value in inputs.values]))
    types = [image_types(view) for view in sides.views()]
    names = sorted(set(types[0]) - {""})
    if len(names) > 1:
        place = {name: number for number, name in enumerate(names)}
        numbers = tuple(np.array([place.get(name, -1) for name in side], np.int64) for side in types)
        kinds.append(("image type", numbers, names))
    parts = []
    for column, numbers, values in kinds:
        for number, value in enumerate(values):
            members = [np.flatnonzero(side == number) for side in numbers]
            count = min(len(members[1]), len(members[2]))
            if min(len(members[0]), count) < least:
                continue
            owners = [patients(sides.floor)[i] for i in members[2]]
            floor = members[2][sample_patients(owners, count, "part", column, value, seed)]
            parts.append(Part(f"{column}={value}", members[0], members[1][:count], floor))
    return parts


def measured(
    name: str,
    figure: Figure,
    score: Score,
    *,
    computed_on: str,
    n_real: int,
    n_synthetic: int,
    encoder: str | None = None,
    subset: str | None = None,
    confidence: float = CONFIDENCE,
) -> dict[str, Any]:
    """A fidelity entry; a score that does not exist says so."""
    if score.value is None or not np.isfinite(score.value):
        score = Score(None, floor=score.floor)
        computed_on = f"not measurable on these images; {computed_on}"
    return entry(
        name,
        title=figure.title,
        group="fidelity",
        encoder=encoder,
        subset=subset,
        score=score,
        n_real=n_real,
        n_synthetic=n_synthetic,
        better=figure.better,
        good=figure.good,
        computed_on=computed_on,
        confidence=confidence,
    )


def unmeasured(
    name: str, figure: Figure, reason: str, sides: Sides, encoder: str | None = None, subset: str | None = None
) -> dict[str, Any]:
    """An entry without a number, and why there is none."""
    return entry(
        name,
        title=figure.title,
        group="fidelity",
        encoder=encoder,
        subset=subset,
        score=Score(None),
        n_real=len(sides.reference),
        n_synthetic=len(sides.synthetic),
        better=figure.better,
        good=figure.good,
        computed_on=f"not measured: {reason}",
    )
