"""Learners of the utility part: what they learn from, how they are fitted, and what they say of real test images.

Words: an *arm* is what was trained on (`real`, `synthetic`, `both`, `fine_tuned`: synthetic, then real); a *learner* is
a network of some shape, or a `probe`: logistic regression on fixed features; a *run* is one learner with one seed.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from synthcohort.core.cohort import Cohort, LabelColumn
from synthcohort.core.config import to_mapping
from synthcohort.core.files import digest_json
from synthcohort.core.kept import kept_array
from synthcohort.core.seeds import rng
from synthcohort.evaluation.inputs import patients
from synthcohort.evaluation.steps import code_digest
from synthcohort.imaging.intensity import ValueRange, value_range_of
from synthcohort.learning.finetune import go_on
from synthcohort.learning.fit import FitConfig, fit_classifier
from synthcohort.metrics.intervals import group_index
from synthcohort.metrics.logistic import balanced_weights, fit_logistic
from synthcohort.metrics.principal import Principal

PROBE_DIMS = 128  # principal directions of the real training features
RIDGE = 10.0


@dataclass(frozen=True)
class Task:
    """One label to learn: the images that have it, and the test patients the learners are scored on."""

    label: LabelColumn
    train: Cohort
    synthetic: Cohort
    test: Cohort
    values: ValueRange

    def classes(self, view: Cohort) -> np.ndarray:
        """Position of each image's label among the label's values: [N] int64."""
        place = {value: number for number, value in enumerate(self.label.values)}
        return np.array([place[value] for value in view.column(self.label.name)], np.int64)


@dataclass(frozen=True)
class Arm:
    """Rows of the real training images and of the synthetic ones that a learner sees, and in which order."""

    real: np.ndarray
    synthetic: np.ndarray
    then_real: bool = False  # synthetic images first, then real ones

    def __len__(self) -> int:
        return len(self.real) + len(self.synthetic)


def open_task(real: Cohort, synthetic: Cohort, label_name: str | None) -> Task:
    """The labeled images of both cohorts."""
    usable = [label for label in real.labels.values() if label.kind in ("nominal", "ordinal")]
    label = next(item for item in usable if label_name in (None, item.name))

    def labeled(view: Cohort) -> Cohort:
        values = view.column(label.name)
        return view.select(indices=[i for i, value in enumerate(values) if value in label.values])

    train = labeled(real.select(split="train"))
    values = value_range_of(real.image(0).dtype, real.column("bits_stored"))
    return Task(label, train, labeled(synthetic), labeled(real.select(split="test")), values)


def sample_rows(task: Task, most: int, seed: int, number: int) -> dict[str, np.ndarray]:
    """Positions to train on: real images by whole patients, and synthetic ones with the same number of each class.

    A class of which there are too few synthetic images is short on that side; nothing takes its place.
    """
    generator = rng("utility", seed, "sample", number)
    count = min(most, len(task.train), len(task.synthetic))
    owners = group_index(patients(task.train))
    rank = generator.permutation(int(owners.max()) + 1)
    real = np.sort(np.argsort(rank[owners], kind="stable")[:count])
    wanted = np.bincount(task.classes(task.train)[real], minlength=len(task.label.values))
    classes = task.classes(task.synthetic)
    parts = [generator.permutation(np.flatnonzero(classes == c))[: wanted[c]] for c in range(len(wanted))]
    return {"real": real, "synthetic": np.sort(np.concatenate(parts))}


def arms_of(chosen: dict[str, np.ndarray]) -> dict[str, Arm]:
    """The four arms of one sample of rows."""
    none = np.zeros(0, np.int64)
    real, synthetic = chosen["real"], chosen["synthetic"]
    return {
        "real": Arm(real, none),
        "synthetic": Arm(none, synthetic),
        "both": Arm(real, synthetic),
        "fine_tuned": Arm(real, synthetic, then_real=True),
    }


class _Joined(Sequence[np.ndarray]):
    """Images of two views, one after the other, read when they are asked for."""

    def __init__(self, first: Cohort, second: Cohort) -> None:
        self.first, self.second = first, second

    def __len__(self) -> int:
        return len(self.first) + len(self.second)

    def __getitem__(self, index: int) -> np.ndarray:  # type: ignore[override]
        inside = index < len(self.first)
        return self.first.image(index) if inside else self.second.image(index - len(self.first))


def network_config(learner: str, steps: int, batch: int) -> FitConfig:
    """The shape of a network by name: one block a stage, or two narrower ones."""
    plain = FitConfig(steps=steps, batch=batch)
    return replace(plain, widths=(24, 48, 96, 192), blocks=2) if learner == "deeper" else plain


def network_says(task: Task, arm: Arm, fit: FitConfig, cache: Path, seed: int, number: int, words: str) -> np.ndarray:
    """Probabilities of the test images [N, K] after one fit, kept under everything they depend on."""
    real, synthetic = task.train.select(indices=arm.real), task.synthetic.select(indices=arm.synthetic)
    sides = [view for view in (real, synthetic) if len(view)]
    classes, num = np.concatenate([task.classes(view) for view in sides]), len(task.label.values)
    content = {
        "train": [view.pixels_digest for view in sides], "classes": classes.tolist(), "then_real": arm.then_real,
        "test": task.test.pixels_digest, "num": num, "fit": to_mapping(fit), "seed": [seed, number],
        "code": code_digest(),
    }  # fmt: skip
    path = Path(cache) / f"utility-{digest_json(content).partition(':')[2][:24]}.npy"

    def says() -> np.ndarray:
        if arm.then_real:
            first = fit_classifier(synthetic, task.classes(synthetic), num, fit, seed + number, task.values, words)
            shorter = replace(fit, steps=max(1, fit.steps // 2), learning_rate=fit.learning_rate / 2)
            classifier = go_on(first, real, task.classes(real), shorter, seed + number, f"{words}, then on real ones")
        else:
            images = sides[0] if len(sides) == 1 else _Joined(real, synthetic)
            classifier = fit_classifier(images, classes, num, fit, seed + number, task.values, words)
        return classifier.probabilities(task.test)

    return kept_array(path, says, lambda kept: kept.shape == (len(task.test), num))


@dataclass(frozen=True)
class Probes:
    """Features of every image a probe may learn from or is scored on, and their classes and patients."""

    real: np.ndarray
    synthetic: np.ndarray
    test: np.ndarray
    real_classes: np.ndarray
    synthetic_classes: np.ndarray
    real_owners: np.ndarray
    num_classes: int

    def says(self, arm: Arm, *draw: str | int) -> np.ndarray:
        """Probabilities of the test images [N, K]. With `draw` the arm's patients are drawn again with replacement.

        A probe has no luck of its own: drawing again shows how much hangs on who was in the sample.
        """
        real, synthetic = arm.real, arm.synthetic
        if draw:
            generator = rng("probe", *draw)
            real = _again(real, self.real_owners[real], generator)
            synthetic = _again(synthetic, synthetic, generator)
        if arm.then_real:
            x, classes = self.real[real], self.real_classes[real]
            knew = self._fitted(self.synthetic[synthetic], self.synthetic_classes[synthetic], x)
            tells = self._fitted(self.synthetic[synthetic], self.synthetic_classes[synthetic], self.test)
            both = np.concatenate([x, knew], axis=1)  # what it sees, and what it made of that before
            return self._fitted(both, classes, np.concatenate([self.test, tells], axis=1))
        x = np.concatenate([self.real[real], self.synthetic[synthetic]])
        return self._fitted(x, np.concatenate([self.real_classes[real], self.synthetic_classes[synthetic]]), self.test)

    def _fitted(self, x: np.ndarray, classes: np.ndarray, asked: np.ndarray) -> np.ndarray:
        """Probabilities [N, K] of a fit; where a single class was to be learned, that class."""
        if len(np.unique(classes)) < 2:
            return np.tile(np.eye(self.num_classes)[int(classes[0])], (len(asked), 1))
        weights = balanced_weights(classes, 0.5)
        return fit_logistic(x, classes, self.num_classes, RIDGE, weights).probabilities(asked)


def _again(rows: np.ndarray, owners: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Rows of as many patients drawn with replacement."""
    if not len(rows):
        return rows
    index = group_index(owners)
    order = np.argsort(index, kind="stable")
    members = np.split(rows[order], np.cumsum(np.bincount(index))[:-1])
    return np.concatenate([members[i] for i in generator.integers(0, len(members), len(members))])


def probes_of(task: Task, features: dict[str, np.ndarray]) -> Probes:
    """From features of the task's train, synthetic and test images: principal directions of the real training ones."""
    directions = Principal.fit(features["train"], PROBE_DIMS)
    sides = {name: directions(value) for name, value in features.items()}
    return Probes(
        sides["train"], sides["synthetic"], sides["test"], task.classes(task.train), task.classes(task.synthetic),
        group_index(patients(task.train)), len(task.label.values),
    )  # fmt: skip
