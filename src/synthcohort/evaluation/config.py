"""Settings of the evaluation. Thresholds are not here: they belong to the policy."""

from dataclasses import dataclass, field
from typing import Literal, get_args

from synthcohort.core.config import at_least
from synthcohort.core.errors import ConfigError, Problem
from synthcohort.evaluation.part_config import (
    AttributesConfig,
    CurvesConfig,
    DamageConfig,
    DemographicsConfig,
    FidelityConfig,
    HarmConfig,
    MeasurementConfig,
    MembershipConfig,
    ReidentificationConfig,
    StressConfig,
    SubgroupsConfig,
)
from synthcohort.learning.encoder_files import EncoderFile

# In the order in which they are done. `measurements` needs a function, `curves` and `stress` gate nothing.
Part = Literal[
    "copies", "membership", "reidentification", "attributes", "fidelity", "images", "radiomics", "criteria",
    "measurements", "alignment", "demographics", "damage", "subgroups", "utility", "harm", "curves", "stress",
]  # fmt: skip
BUILT_IN = ("self_trained", "packaged", "self_supervised")


@dataclass(frozen=True)
class UtilityConfig:
    """Train on synthetic or on real images, test on real test patients: the same budget on both sides."""

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
    parts: tuple[Part, ...] = get_args(Part)  # a family whose part is left out is inconclusive
    # self_trained (on the label), packaged (natural images), self_supervised, or names from encoder_files
    encoders: tuple[str, ...] = ("self_trained", "packaged")
    encoder_files: dict[str, EncoderFile] = field(default_factory=dict)  # name -> weights that you have
    max_images: int = 5000  # synthetic images compared; a larger cohort is sampled
    min_class_images: int = 20  # smaller classes get no figures of their own
    folds: int = 30  # groups of patients that the jackknife leaves out in turn
    bootstrap: int = 1000  # resamples of patients for the intervals of a classifier's figures
    threads: int = 0  # processor threads; 0 leaves the choice to torch. Bit-identical results need the same number.
    grader: GraderConfig = field(default_factory=GraderConfig)
    fidelity: FidelityConfig = field(default_factory=FidelityConfig)
    measurements: MeasurementConfig = field(default_factory=MeasurementConfig)
    membership: MembershipConfig = field(default_factory=MembershipConfig)
    reidentification: ReidentificationConfig = field(default_factory=ReidentificationConfig)
    attributes: AttributesConfig = field(default_factory=AttributesConfig)
    demographics: DemographicsConfig = field(default_factory=DemographicsConfig)
    damage: DamageConfig = field(default_factory=DamageConfig)
    subgroups: SubgroupsConfig = field(default_factory=SubgroupsConfig)
    utility: UtilityConfig = field(default_factory=UtilityConfig)
    harm: HarmConfig = field(default_factory=HarmConfig)
    curves: CurvesConfig = field(default_factory=CurvesConfig)
    stress: StressConfig = field(default_factory=StressConfig)

    def __post_init__(self) -> None:
        at_least("evaluate", self, {"max_images": 20, "min_class_images": 6, "folds": 5, "bootstrap": 50, "threads": 0})
        problems = []
        known = (*BUILT_IN, *self.encoder_files)
        if len(set(self.encoders)) != len(self.encoders) or not self.encoders or not set(self.encoders) <= set(known):
            found = ", ".join(self.encoders) or "none"
            problems.append(Problem("setting evaluate.encoders", found, f"{', '.join(known)}, each once"))
        if taken := sorted(set(BUILT_IN) & set(self.encoder_files)):
            problems.append(Problem("setting evaluate.encoder_files", ", ".join(taken), "names of your own"))
        if len(set(self.parts)) != len(self.parts) or not self.parts:
            found = ", ".join(self.parts) or "none"
            problems.append(Problem("setting evaluate.parts", found, f"{', '.join(get_args(Part))}, each once"))
        if problems:
            raise ConfigError(*problems)
