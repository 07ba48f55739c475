"""Readings for directions: a classifier fitted on a cohort's training images says a column's value of drawn images.

Ordered columns are read as the expected value, numbers as that of five equally frequent classes, and one value of an
unordered column as its probability. The classifier is kept in the run folder, which is the owner's.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from synthcohort.core.cohort import Cohort
from synthcohort.core.errors import InputError, Problem
from synthcohort.core.files import digest_json
from synthcohort.core.kept import kept_folder
from synthcohort.imaging.geometry import Fit, placement
from synthcohort.learning.fit import Classifier, FitConfig, fit_classifier
from synthcohort.models.checkpoint import ImageSpec

FOLDER = "readers"
STEPS = 400  # batches of a reader's fit
CLASSES = 5  # that a number is cut into, of equally many images
FEWEST = 10  # training images of a class
Reading = Callable[[Sequence[np.ndarray]], np.ndarray]


@dataclass(frozen=True)
class Scale:
    """How the values of a column become classes, and classes a number."""

    classes: np.ndarray  # [N] of the images with a value
    rows: np.ndarray  # [N] which images these are
    numbers: np.ndarray  # [K] the number that each class counts as

    @classmethod
    def of(cls, cohort: Cohort, asked: str) -> "Scale":
        """Of `column`, or `column=value`. Raises InputError for an unknown column, or one with too few values."""
        name, _, value = asked.partition("=")
        known = [c for c in cohort.records.column_names if c in cohort.labels or c in ("sex", "age")]
        if name not in known:
            raise InputError(Problem("--along", f"unknown column {name!r}", ", ".join(known)))
        values = cohort.column(name)
        rows = np.array([n for n, own in enumerate(values) if own is not None], np.int64)
        said = [values[n] for n in rows]
        if value:
            texts = [str(own) for own in said]
            classes, numbers = np.array([text == value for text in texts], np.int64), np.array([0.0, 1.0])
            allowed = ", ".join(sorted(set(texts)))
        elif said and not isinstance(said[0], str):
            classes, numbers = _graded(np.array(said, np.float64))
            allowed = "two values or more"
        else:
            kinds = sorted(set(said))
            remedy = f"say which, for example {name}={kinds[-1]}" if kinds else ""
            raise InputError(Problem("--along", f"{name!r} has no order", remedy=remedy))
        counts = np.bincount(classes, minlength=len(numbers)) if len(classes) else np.zeros(2)
        if len(numbers) < 2 or min(counts) < FEWEST:
            found = f"{asked!r}: fewer than {FEWEST} training images of a class"
            raise InputError(Problem("--along", found, allowed, "another column or value, or a larger cohort"))
        return cls(classes, rows, numbers)


def _graded(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Classes of numbers, and the mean of each: their own values where these are few, else equally frequent parts."""
    kinds = np.unique(values)
    if len(kinds) > CLASSES:
        edges = np.unique(np.quantile(values, np.arange(1, CLASSES) / CLASSES))
        classes = np.searchsorted(edges, values, side="right")
    else:
        classes = np.searchsorted(kinds, values)
    classes = np.unique(classes, return_inverse=True)[1]
    numbers = np.array([values[classes == k].mean() for k in range(int(classes.max()) + 1)]) if len(values) else values
    return classes, numbers


def reading(run: Path, cohort: Path, asked: str, spec: ImageSpec, fit: Fit = "pad") -> Reading:
    """What reads `column` or `column=value` of images like those of a model; fitted at the first call, then kept.

    Raises InputError for a cohort without such a column or too few of its images, ArtifactError for no cohort.
    """
    train = Cohort.open(cohort).select(split="train")
    scale = Scale.of(train, asked)
    name = digest_json({"cohort": train.digest, "asked": asked, "size": spec.size, "fit": fit, "steps": STEPS})

    def make(folder: Path) -> None:
        images = np.stack([_placed(train.image(int(n)), spec, fit) for n in scale.rows])
        kinds = len(scale.numbers)
        fit_classifier(
            images, scale.classes, kinds, FitConfig(steps=STEPS), 0, spec.value_range, f"reader of {asked}"
        ).save(folder)

    reader: Classifier = kept_folder(Path(run) / FOLDER / name.partition(":")[2][:24], Classifier.load, make)

    def read(images: Sequence[np.ndarray]) -> np.ndarray:
        return np.asarray(reader.probabilities(np.stack(images)) @ scale.numbers, np.float64)

    return read


def _placed(image: np.ndarray, spec: ImageSpec, fit: Fit) -> np.ndarray:
    return placement(image.shape[:2], spec.size, fit, fill=spec.low).apply(image)


def numbers_of(values: np.ndarray) -> list[float]:
    """Rounded for a report."""
    return [round(float(value), 3) for value in values]
