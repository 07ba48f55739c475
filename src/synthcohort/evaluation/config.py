"""Settings of the evaluation. Thresholds are not here: they belong to the policy."""

from dataclasses import dataclass, field
from typing import Literal

from synthcohort.core.config import at_least
from synthcohort.core.errors import ConfigError, Problem

Encoder = Literal["self_trained", "packaged"]


@dataclass(frozen=True)
class UtilityConfig:
    """Train on synthetic or on real images, test on real test patients: the same budget on both sides."""

    enabled: bool = True
    images: int = 1000  # training images of each side; fewer when a side has fewer
    seeds: int = 3  # fits of each side
    steps: int = 400  # batches of each fit
    batch: int = 64

    def __post_init__(self) -> None:
        at_least("evaluate.utility", self, {"images": 20, "seeds": 1, "steps": 1, "batch": 2})


@dataclass(frozen=True)
class GraderConfig:
    """The classifier fitted on the real training images: the self-trained encoder, and the reader of labels."""

    steps: int = 800  # batches of the fit
    batch: int = 64

    def __post_init__(self) -> None:
        at_least("evaluate.grader", self, {"steps": 1, "batch": 2})


@dataclass(frozen=True)
class EvaluateConfig:
    """What is measured, on how many images."""

    label: str | None = None  # label column that classes are read from; None takes the first
    encoders: tuple[Encoder, ...] = ("self_trained", "packaged")
    max_images: int = 5000  # synthetic images compared; a larger cohort is sampled
    min_class_images: int = 20  # smaller classes get no figures of their own
    folds: int = 30  # groups of patients that the jackknife leaves out in turn
    bootstrap: int = 1000  # resamples of patients for the intervals of a classifier's figures
    threads: int = 0  # processor threads; 0 leaves the choice to torch. Bit-identical results need the same number.
    grader: GraderConfig = field(default_factory=GraderConfig)
    utility: UtilityConfig = field(default_factory=UtilityConfig)

    def __post_init__(self) -> None:
        at_least("evaluate", self, {"max_images": 20, "min_class_images": 6, "folds": 5, "bootstrap": 50, "threads": 0})
        if len(set(self.encoders)) != len(self.encoders) or not self.encoders:
            found = ", ".join(self.encoders) or "none"
            raise ConfigError(Problem("setting evaluate.encoders", found, "self_trained, packaged, each once"))
