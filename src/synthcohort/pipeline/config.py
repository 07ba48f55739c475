"""A study file: one TOML with a section per stage; every stage's defaults stand in its own config module."""

from dataclasses import dataclass, field
from typing import Literal, get_args

from synthcohort.core.config import at_least
from synthcohort.core.errors import ConfigError, Problem
from synthcohort.evaluation.config import EvaluateConfig
from synthcohort.generation.config import GenerateConfig
from synthcohort.ingest.config import IngestConfig
from synthcohort.release.config import ReleaseConfig
from synthcohort.training.autoencoder_config import AutoencoderTraining
from synthcohort.training.config import TrainConfig
from synthcohort.training.gan_config import GanConfig

Generator = Literal["diffusion", "gan", "auto"]


@dataclass(frozen=True)
class Study:
    """What belongs to the study as a whole."""

    name: str = "study"
    seed: int = 0
    source: str | None = None  # folder of the images, unless --source says
    count: int = 1000  # synthetic images to draw
    balance: str | None = None  # label column drawn evenly; None keeps the real distribution
    policy: str = "open"  # thresholds and release rules: open, partner, internal, or a TOML file
    generator: Generator = "diffusion"  # diffusion, gan, or auto: what suits the data, the machine and the minutes
    minutes: float = 20.0  # of training under auto; sizes and budgets of [train] and [gan] that are no defaults stay
    key: str | None = None  # file of the owner's private key (synthcohort keys): signs scores and bundle; or --key
    answers: str | None = None  # TOML with what only a person can answer (documents/answers.toml); or --answers
    refill_rounds: int = 3  # times that images too near to a patient are drawn anew and judged again; 0: never
    threads: int = 0  # processor threads; 0 means all cores. Bit-identical results need the same number.

    def __post_init__(self) -> None:
        problems = []
        if self.count < 1:
            problems.append(Problem("setting study.count", str(self.count), "1 or more"))
        if not 0 <= self.refill_rounds <= 20:
            problems.append(Problem("setting study.refill_rounds", str(self.refill_rounds), "0 to 20"))
        if self.threads < 0:
            problems.append(Problem("setting study.threads", str(self.threads), "0 (all cores) or more"))
        if self.generator not in get_args(Generator):
            problems.append(Problem("setting study.generator", repr(self.generator), ", ".join(get_args(Generator))))
        if not self.minutes > 0:
            problems.append(Problem("setting study.minutes", f"{self.minutes:g}", "more than 0"))
        if problems:
            raise ConfigError(*problems)


@dataclass(frozen=True)
class Hospital:
    """The procedural hospital of the demo; unused when a study reads a source of its own."""

    patients: int = 600
    images_per_patient: int = 3
    size: int = 64

    def __post_init__(self) -> None:
        at_least("hospital", self, {"patients": 20, "images_per_patient": 1, "size": 16})


@dataclass(frozen=True)
class StudyConfig:
    """All sections of a study file."""

    study: Study = field(default_factory=Study)
    hospital: Hospital = field(default_factory=Hospital)
    ingest: IngestConfig = field(default_factory=IngestConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    autoencoder: AutoencoderTraining = field(default_factory=AutoencoderTraining)  # of train --autoencoder alone
    gan: GanConfig = field(default_factory=GanConfig)  # of train --gan, and of generator = gan or auto
    generate: GenerateConfig = field(default_factory=GenerateConfig)
    evaluate: EvaluateConfig = field(default_factory=EvaluateConfig)
    release: ReleaseConfig = field(default_factory=ReleaseConfig)
