"""The images as encoders see them, and what is read of their labels; every pass is kept and never made twice.

Without classes the self-trained encoder learns to tell how an image is turned: it needs no label for that.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np

from synthcohort.core.cohort import Cohort
from synthcohort.core.config import to_mapping
from synthcohort.core.files import digest_json
from synthcohort.core.kept import kept_array, kept_folder
from synthcohort.evaluation.config import EvaluateConfig
from synthcohort.evaluation.fidelity import Seen
from synthcohort.evaluation.inputs import Inputs, patients
from synthcohort.evaluation.label_reader import LabelReader
from synthcohort.evaluation.steps import code_digest
from synthcohort.imaging.intensity import value_range_of
from synthcohort.learning.encoder_files import encoder_named
from synthcohort.learning.features import Encoder, classifier_encoder, features, fit_on_turns
from synthcohort.learning.fit import Classifier, FitConfig, fit_classifier


class Eyes:
    """The encoders of one evaluation. Features are kept in `cache` by pixels, encoder and code; they are sensitive."""

    def __init__(self, inputs: Inputs, config: EvaluateConfig, cache: Path, seed: int):
        self.inputs, self.config, self.cache, self.seed = inputs, config, Path(cache), seed
        self.train = inputs.real.select(split="train")
        self.test = inputs.real.select(split="test")
        self._grader: Classifier | None = None
        self._encoders: dict[str, Encoder] = {}
        self._reader: LabelReader | None = None

    @property
    def grader_key(self) -> str:
        """What the grader depends on."""
        content = {
            "pixels": self.train.pixels_digest,
            "classes": self.inputs.classes(self.train).tolist(),
            "values": len(self.inputs.values),
            "grader": to_mapping(self.config.grader),
            "seed": self.seed,
            "code": code_digest(),
        }
        return digest_json(content).partition(":")[2][:24]

    def grader(self) -> Classifier:
        """The classifier of the label (without one: of quarter turns), fitted on real training images and kept."""
        if self._grader is None:
            folder = self.cache / f"grader-{self.grader_key}"
            self._grader = kept_folder(folder, Classifier.load, lambda folder: self._fit().save(folder))
        return self._grader

    def _fit(self) -> Classifier:
        fit = self._fit_config
        if self.inputs.label is None:
            return fit_on_turns(self.train, replace(fit, flip=False), self.seed)
        classes = self.inputs.classes(self.train)
        labelled = np.flatnonzero(classes >= 0)
        return fit_classifier(
            self.train.select(indices=labelled),
            classes[labelled],
            len(self.inputs.values),
            fit,
            self.seed,
            description="grader on real training images",
        )

    def see(self, encoder: str, view: Cohort) -> Seen:
        """A view's images in an encoder's features."""
        return Seen(self._features(encoder, view), patients(view), self.inputs.classes(view))

    def _features(self, encoder: str, view: Cohort) -> np.ndarray:
        """Both cohorts are read on the real one's scale of intensities, whatever depth a record claims."""
        if encoder == "self_trained":
            return features(view, classifier_encoder(self.grader()), self.cache)
        return features(view, self._encoder(encoder), self.cache)

    def _encoder(self, name: str) -> Encoder:
        if name not in self._encoders:
            real, files = self.inputs.real, self.config.encoder_files
            values = value_range_of(real.image(0).dtype, real.column("bits_stored"))
            fit = self._fit_config
            self._encoders[name] = encoder_named(name, self.train, self.cache, self.seed, fit, files, values)
        return self._encoders[name]

    @property
    def _fit_config(self) -> FitConfig:
        return FitConfig(steps=self.config.grader.steps, batch=self.config.grader.batch)

    def read_labels(self, view: Cohort) -> np.ndarray:
        """The class that the grader and a regression on natural-image features read in each image: [N] int64."""
        key = digest_json({"pixels": view.pixels_digest, "grader": self.grader_key}).partition(":")[2][:24]
        path = self.cache / f"read-{key}.npy"
        return kept_array(path, lambda: self._read(view), lambda kept: kept.shape == (len(view),))

    def _read(self, view: Cohort) -> np.ndarray:
        if self._reader is None:
            classes = self.inputs.classes(self.train)
            labelled = np.flatnonzero(classes >= 0)
            seen = self._features("packaged", self.train)[labelled]
            self._reader = LabelReader.fit(seen, classes[labelled], len(self.inputs.values))
        return self._reader.read(self.grader().probabilities(view), self._features("packaged", view))
