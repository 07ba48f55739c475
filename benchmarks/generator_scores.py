"""One scorer for all ways of the generator benchmark: distances to the same patients in two encoders, and copies.

The self-trained encoder is a grader of the label, fitted on the real training images alone; the packaged one comes in a
wheel. The floor is as many real training images, drawn by whole patients, against the same patients.
"""

from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from generator_settings import ENCODERS

from synthcohort.core.cohort import Cohort
from synthcohort.core.seeds import rng
from synthcohort.imaging.intensity import value_range_of
from synthcohort.learning.features import Encoder, classifier_encoder, features, packaged_encoder
from synthcohort.learning.fit import Classifier, FitConfig, fit_classifier
from synthcohort.learning.search import CopyIndex, build_index
from synthcohort.metrics.distribution import frechet_distance, kernel_distance
from synthcohort.metrics.intervals import clopper_pearson
from synthcohort.metrics.scored import METRICS

GRADER_STEPS = 800  # as in the product's evaluation


@dataclass(frozen=True)
class Real:
    """The images of one role, their classes (positions in the label's values) and whose they are."""

    images: np.ndarray
    classes: np.ndarray
    patients: list[str]

    def __len__(self) -> int:
        return len(self.images)


def real(cohort: Cohort, split: str) -> Real:
    view = cohort.select(split=split)
    label = next(iter(cohort.labels.values()))
    classes = np.array([label.values.index(value) for value in view.column(label.name)])
    return Real(view.images(), classes, view.column("patient_id"))


def wanted_classes(cohort: Cohort, count: int, seed: int) -> list[int]:
    """Classes in the proportions of the test patients' images, to within one image of each, in random order."""
    classes = np.sort(real(cohort, "test").classes)
    points = ((np.arange(count) + 0.5) * len(classes) / count).astype(int)
    return [int(c) for c in rng("benchmark classes", seed).permutation(classes[points])]


class Scorer:
    """The encoders, the copy index and the features of the real images, all kept in `folder`."""

    def __init__(self, cohort: Cohort, folder: Path) -> None:
        self.cohort, self.folder = cohort, Path(folder)

    def prepare(self, steps: int = GRADER_STEPS) -> dict[str, Any]:
        """Fits the encoder and builds the copy index; both from training images, the threshold from validation ones."""
        train, label = real(self.cohort, "train"), next(iter(self.cohort.labels.values()))
        config = FitConfig(steps=steps)
        fit_classifier(train.images, train.classes, len(label.values), config, 0).save(self.folder / "encoder")
        build_index(
            self.cohort.select(split="train"), self.folder / "index", validation=self.cohort.select(split="validation")
        )
        graded = self.grader.probabilities(real(self.cohort, "test").images).argmax(1)
        return {
            "copy_threshold": self.index.threshold,
            "control_copies": self.copies(real(self.cohort, "control").images),
            "grader_accuracy_on_test": float((graded == real(self.cohort, "test").classes).mean()),
        }

    @cached_property
    def grader(self) -> Classifier:
        return Classifier.load(self.folder / "encoder")

    @cached_property
    def index(self) -> CopyIndex:
        return CopyIndex.open(self.folder / "index")

    @cached_property
    def encoders(self) -> dict[str, Encoder]:
        scale = value_range_of(self.cohort.image(0).dtype, self.cohort.column("bits_stored"))
        return {
            "packaged": replace(packaged_encoder(), value_range=scale),
            "self_trained": classifier_encoder(self.grader),
        }

    def see(self, images: np.ndarray, encoder: str) -> np.ndarray:
        return features(images, self.encoders[encoder], self.folder / "features")

    def floor_images(self, count: int, draw: int) -> tuple[np.ndarray, list[str]]:
        """Training images of whole patients (the last one cut)."""
        train = real(self.cohort, "train")
        names = np.array(train.patients)
        order = rng("benchmark floor", draw).permutation(np.unique(names))
        chosen = np.concatenate([np.flatnonzero(names == name) for name in order[:count]])[:count]
        return train.images[np.sort(chosen)], names[np.sort(chosen)].tolist()

    def quick(self, images: np.ndarray, split: str) -> dict[str, dict[str, float]]:
        """Both distances in both encoders, without intervals: for choices on validation patients, and for curves."""
        reference = real(self.cohort, split)
        found = {}
        for encoder in ENCODERS:
            sides = {"real": self.see(reference.images, encoder), "synthetic": self.see(images, encoder)}
            found[encoder] = {"frechet": frechet_distance(**sides), "kernel": kernel_distance(**sides)}
        return found

    def whole(self, images: np.ndarray, classes: list[int], draw: int) -> dict[str, Any]:
        """Everything about the images of one training: distances to the test patients with floors, copies, labels."""
        reference, (base, owners) = real(self.cohort, "test"), self.floor_images(len(images), draw)
        found: dict[str, Any] = {}
        for encoder in ENCODERS:
            seen, made, floor = (self.see(x, encoder) for x in (reference.images, images, base))
            found[encoder] = {
                short: asdict(
                    METRICS[name](
                        real=seen, synthetic=made, floor=floor, real_patients=reference.patients, floor_patients=owners
                    )
                )
                for short, name in (("frechet", "frechet_distance"), ("kernel", "kernel_distance"))
            }
        found["copies"] = self.copies(images)
        found["label_read"] = float((self.grader.probabilities(images).argmax(1) == np.array(classes)).mean())
        return found

    def copies(self, images: np.ndarray) -> dict[str, Any]:
        above = int((self.index.query(images).similarity > self.index.threshold).sum())
        low, high = clopper_pearson(above, len(images), 0.95)
        return {"above": above, "images": len(images), "share": above / len(images), "low": low, "high": high}
