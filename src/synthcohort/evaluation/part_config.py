"""Settings of the parts of an evaluation. They load nothing: every command reads them, and few run the parts."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal

from synthcohort.core.config import at_least
from synthcohort.core.errors import ConfigError, Problem

Learner = Literal["residual", "deeper", "probe"]
LEAST_TO_FIT = 60  # real images; with fewer the reader of damage learns their accidents
LEAST_REFERENCES = 30  # synthetic images, or real ones to compare with


@dataclass(frozen=True)
class FidelityConfig:
    """On how many images the slower figures are computed."""

    similarity_pairs: int = 300  # pairs of images of one class, for the structural similarity within a class
    radiomic_images: int = 2000  # images of each side whose radiomic features are computed
    distance_images: int = 2000  # images of each side whose distances to each other are computed

    def __post_init__(self) -> None:
        limits = {"similarity_pairs": 10, "radiomic_images": 50, "distance_images": 50}
        at_least("evaluate.fidelity", self, limits)


@dataclass(frozen=True)
class MeasurementConfig:
    """A user's function that measures something in an image, and how much a difference of means may be.

    `function` is FILE.py:NAME; it is called with the image as stored and its record, and returns a number, or numbers
    by name; nan says that an image can't be measured. `margins`: name of the measurement -> margin in its unit; a
    single number is called `value`. The file is the user's own code and runs as such.
    """

    function: str | None = None
    margins: dict[str, float] = field(default_factory=dict)
    units: dict[str, str] = field(default_factory=dict)
    level: float = 0.05  # of each of the two one-sided tests

    def __post_init__(self) -> None:
        problems = []
        place = "setting evaluate.measurements"
        if self.function is not None and ".py:" not in self.function:
            problems.append(Problem(f"{place}.function", repr(self.function), "FILE.py:NAME"))
        if self.function is not None and not self.margins:
            remedy = "state how large a difference would not matter, before looking at the images"
            problems.append(Problem(f"{place}.margins", "none", "one margin for each measurement", remedy))
        problems.extend(
            Problem(f"{place}.margins.{name}", str(margin), "more than 0")
            for name, margin in self.margins.items()
            if not margin > 0
        )
        if not 0 < self.level < 0.5:
            problems.append(Problem(f"{place}.level", str(self.level), "between 0 and 0.5"))
        if problems:
            raise ConfigError(*problems)


@dataclass(frozen=True)
class AttributesConfig:
    """How many images are attacked."""

    max_members: int = 5000  # training images, of whole patients
    neighbors: int = 5  # synthetic images that vote

    def __post_init__(self) -> None:
        at_least("evaluate.attributes", self, {"max_members": 50, "neighbors": 1})


@dataclass(frozen=True)
class WhiteBoxConfig:
    """Where the losses are taken."""

    sigmas: tuple[float, ...] = (0.1, 0.2, 0.4, 0.8, 1.6)
    draws: int = 1  # noises for each image and sigma
    images: int = 1500  # members whose losses are taken; whole patients

    def __post_init__(self) -> None:
        if not self.sigmas or min(self.sigmas) <= 0 or self.draws < 1 or self.images < 20:
            raise ConfigError(
                Problem("setting evaluate.membership.white_box", str(asdict(self)), "sigmas > 0, draws 1, images 20")
            )


@dataclass(frozen=True)
class MembershipConfig:
    """How many images the attacks look at, and which shadow models they compare with."""

    max_members: int = 5000  # training images, of whole patients
    least_images: int = 50  # members, others and strangers; with fewer there is no verdict
    permutations: int = 1999  # relabelings of patients
    white_box: WhiteBoxConfig = field(default_factory=WhiteBoxConfig)
    shadows: tuple[Path, ...] = ()  # run folders trained with train.shadow, in whole pairs; evaluate --shadow adds some

    def __post_init__(self) -> None:
        at_least("evaluate.membership", self, {"max_members": 50, "least_images": 20, "permutations": 999})


@dataclass(frozen=True)
class ReidentificationConfig:
    """The budget of the fit."""

    steps: int = 500
    max_images: int = 20_000  # training images fitted on and searched; whole patients
    folds: int = 30  # groups of patients that the jackknife leaves out in turn

    def __post_init__(self) -> None:
        at_least("evaluate.reidentification", self, {"steps": 1, "max_images": 40, "folds": 5})


@dataclass(frozen=True)
class DemographicsConfig:
    """Which stated facts are read from images."""

    columns: tuple[str, ...] = ("sex", "age", "laterality", "modality", "body_part", "view")
    age_bands: tuple[int, ...] = (45, 65)
    images: int = 3000  # training images a reader learns from
    captions: bool = True  # whether images find their own captions

    def __post_init__(self) -> None:
        at_least("evaluate.demographics", self, {"images": 50})


@dataclass(frozen=True)
class DamageConfig:
    """How many real images the damage check learns from and compares with."""

    images: int = 1500  # training images that are spoilt to learn from
    references: int = 2000  # other real images that synthetic ones are compared with
    planted: int = 300  # real test images that damage is planted in, to say what would have been noticed

    def __post_init__(self) -> None:
        at_least("evaluate.damage", self, {"images": LEAST_TO_FIT, "references": LEAST_REFERENCES, "planted": 20})


@dataclass(frozen=True)
class SubgroupsConfig:
    """Which groups are looked at, and what the synthetic cohort is meant to hold."""

    columns: tuple[str, ...] = ("sex", "age", "ethnicity", "site", "manufacturer", "laterality", "view")
    age_bands: tuple[int, ...] = (18, 40, 60, 80)  # years at which a new band begins
    # Wanted shares, as {"sex": {"F": 0.5, "M": 0.5}}; a column that is not named is to be as among the real images.
    target: Mapping[str, Mapping[str, float]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        at_least("evaluate.subgroups", self, {})
        problems = []
        if list(self.age_bands) != sorted(set(self.age_bands)):
            found = ", ".join(map(str, self.age_bands))
            problems.append(Problem("setting evaluate.subgroups.age_bands", found, "ages in growing order"))
        for column, shares in self.target.items():
            total = sum(shares.values())
            if min(shares.values(), default=0) < 0 or not math.isclose(total, 1, abs_tol=1e-6):
                place = f"setting evaluate.subgroups.target.{column}"
                problems.append(Problem(place, f"shares that sum to {total:g}", "shares of 0 or more that sum to 1"))
        if problems:
            raise ConfigError(*problems)


@dataclass(frozen=True)
class HarmConfig:
    """Which learners are asked, and which classes must not lose. Images, seeds and steps: evaluate.utility."""

    learners: tuple[Learner, ...] = ("residual", "deeper", "probe")
    critical: tuple[str, ...] = ()  # values of the label that gate; none named: all with enough test patients

    def __post_init__(self) -> None:
        at_least("evaluate.harm", self, {})
        if not self.learners or len(set(self.learners)) != len(self.learners):
            found = ", ".join(self.learners) or "none"
            raise ConfigError(Problem("setting evaluate.harm.learners", found, "residual, deeper, probe, each once"))


@dataclass(frozen=True)
class CurvesConfig:
    """The grid, and who is asked."""

    real_shares: tuple[float, ...] = (0.05, 0.1, 0.25, 0.5, 1.0)  # of the real training patients
    synthetic_times: tuple[float, ...] = (0.0, 1.0, 2.0, 5.0, 10.0)  # synthetic images for each real one
    learners: tuple[Learner, ...] = ("probe",)
    runs: int = 3  # of each point: other patients, other images

    def __post_init__(self) -> None:
        at_least("evaluate.curves", self, {"runs": 1})
        problems = []
        if not all(0 < share <= 1 for share in self.real_shares):
            found = ", ".join(map(str, self.real_shares))
            problems.append(Problem("setting evaluate.curves.real_shares", found, "shares above 0, at most 1"))
        if not all(times >= 0 for times in self.synthetic_times):
            found = ", ".join(map(str, self.synthetic_times))
            problems.append(Problem("setting evaluate.curves.synthetic_times", found, "0 or more"))
        if problems:
            raise ConfigError(*problems)


@dataclass(frozen=True)
class StressConfig:
    """The classifier that is put under stress, and how far."""

    classifier: str | None = None  # a TorchScript or ONNX file (evaluation.user_classifier says what it must do)
    rare: str | None = None  # the class of the shortcut probe; None: the rarest with enough images
    images: int = 500  # of each side in the sweeps
    max_drop: float = 0.1  # accuracy that may be lost before a classifier counts as broken

    def __post_init__(self) -> None:
        at_least("evaluate.stress", self, {"images": 20})
