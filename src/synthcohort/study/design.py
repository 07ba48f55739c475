"""What a study asks and of whom: a strict TOML file becomes frozen dataclasses, and nothing is guessed.

Words: a *phase* is a set of cases that each reader answers in an order of their own; a *case* is one image, or two in
a phase of pairs; a *training case* comes before, with the right answer shown, and never counts.
"""

import re
from dataclasses import dataclass, field
from typing import Literal

from synthcohort.core.errors import ConfigError, Problem

Kind = Literal["grade", "origin", "rate", "pairs"]
KINDS: tuple[Kind, ...] = ("grade", "origin", "rate", "pairs")
# Words that would tell a blinded reader what the study is about.
TELLING = re.compile(r"synth|artificial|fake|generat|diffusion|\bgan\b|\bai\b|deepfake|not real|real or", re.IGNORECASE)
NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,30}")


@dataclass(frozen=True)
class Phase:
    """One phase. `origin`: real or synthetic; `rate`: does the image fit its words, does it look real; see docs."""

    kind: Kind
    label: str = ""  # the label column that is graded; for other kinds, the one that the sample is balanced over
    real: int = 30  # cases with a real image; in `pairs` the number of pairs is the smaller of the two
    synthetic: int = 30
    degraded: int = 0  # real images made visibly worse, to see that readers look
    repeats: int = 0  # cases shown twice
    training: int = 3
    confidence: int = 5  # levels of confidence, 0: not asked
    washout_days: float = 0.0  # from the end of the reader's phase before
    intro: str = ""  # what the reader is told before the phase
    question: str = ""  # the words above the answers; without: the label's name, or the question of the kind
    same_images: bool = False  # take the images of the phase before it

    def __post_init__(self) -> None:
        problems = [
            Problem(f"setting phases.{name}", str(getattr(self, name)), "0 or more")
            for name in ("real", "synthetic", "degraded", "repeats", "training")
            if getattr(self, name) < 0
        ]
        if self.real + self.synthetic < 1:
            problems.append(Problem("setting phases.real, synthetic", "0 cases", "at least one"))
        if self.confidence not in (0, *range(2, 11)):
            problems.append(Problem("setting phases.confidence", str(self.confidence), "0, or 2 to 10 levels"))
        if self.washout_days < 0:
            problems.append(Problem("setting phases.washout_days", str(self.washout_days), "0 or more"))
        if self.repeats > self.real + self.synthetic:
            problems.append(Problem("setting phases.repeats", str(self.repeats), "at most the number of cases"))
        if self.kind == "grade" and not self.label:
            problems.append(Problem("setting phases.label", "is missing", "a label column to grade"))
        if self.kind in ("origin", "pairs") and not min(self.real, self.synthetic):
            problems.append(Problem(f"phase {self.kind}", "has images of one kind only", "real and synthetic ones"))
        if self.kind == "pairs" and self.degraded:
            problems.append(Problem("setting phases.degraded", "is set for pairs", "0"))
        if problems:
            raise ConfigError(*problems)


@dataclass(frozen=True)
class Power:
    """The sample size from a power calculation: `cases` in phases of real and synthetic are then replaced by it.

    For `origin`: that the area under the readers' ROC curve is within `margin` of 0.5. For `grade`: that the share of
    right grades on real and synthetic images differs by less than `margin`. Both by two one-sided tests.
    """

    power: float = 0.8
    margin: float = 0.15
    alpha: float = 0.05
    accuracy: float = 0.7  # expected share of right grades
    reader_sd: float = 0.05  # standard deviation of the figure from reader to reader
    correlation: float = 0.3  # of two readers' errors on the same cases
    most: int = 200  # cases of each kind that readers can bear

    def __post_init__(self) -> None:
        inside = {"power": (0, 1), "margin": (0, 0.5), "alpha": (0, 0.5), "accuracy": (0, 1), "correlation": (0, 1)}
        problems = [
            Problem(f"setting power.{name}", str(getattr(self, name)), f"above {low} and below {high}")
            for name, (low, high) in inside.items()
            if not low < getattr(self, name) < high
        ]
        if not 0 <= self.reader_sd < 0.5:
            problems.append(Problem("setting power.reader_sd", str(self.reader_sd), "0 to 0.5"))
        if problems:
            raise ConfigError(*problems)


@dataclass(frozen=True)
class Images:
    """How every image, real and synthetic alike, becomes a payload of one size."""

    rows: int = 0  # 0: the smallest number of rows among the sampled images, so that none is enlarged
    columns: int = 0
    fit: Literal["crop", "pad", "stretch"] = "crop"  # where an image has another shape; a border could tell its origin
    intensity: Literal["rescale", "native"] = "rescale"  # native keeps Hounsfield units
    levels: int = 0  # gray levels that all images are brought to; 0: as many as the coarser cohort has

    def __post_init__(self) -> None:
        problems = []
        if (self.rows == 0) != (self.columns == 0) or min(self.rows, self.columns) < 0:
            problems.append(Problem("setting images.rows, columns", f"{self.rows}, {self.columns}", "both, or neither"))
        if max(self.rows, self.columns) > 4096:
            problems.append(Problem("setting images.rows, columns", f"{self.rows}, {self.columns}", "at most 4096"))
        if self.levels and not 16 <= self.levels <= 65536:
            problems.append(Problem("setting images.levels", str(self.levels), "0, or 16 to 65536"))
        if problems:
            raise ConfigError(*problems)


@dataclass(frozen=True)
class Design:
    """A whole study."""

    title: str = "Reading study"
    phases: tuple[Phase, ...] = ()
    readers: tuple[str, ...] = ("reader-1", "reader-2", "reader-3")
    observers: tuple[str, ...] = ()
    seed: int = 0
    real_split: Literal["test", "validation", "control", "train"] = "test"
    consent: str = (
        "You will look at images and answer questions about them. Your answers, and the time each takes, are stored "
        "under a code and used for research. Taking part is voluntary: you may stop at any time, and come back to "
        "where you stopped with the same link. At the end you will be told the study's whole purpose."
    )
    contact: str = ""
    margin: float = 0.15  # differences in the share of right grades below this do not matter
    power: Power | None = None
    images: Images = field(default_factory=Images)
    teaching: bool = False  # a quiz with feedback, open to a course; synthetic images only

    def __post_init__(self) -> None:
        problems = []
        if not self.phases:
            problems.append(Problem("setting phases", "is empty", "one or more [[phases]]"))
        people = [*self.readers, *self.observers]
        if not self.readers:
            problems.append(Problem("setting readers", "is empty", "one or more names"))
        if len(set(people)) != len(people) or "owner" in people:
            problems.append(Problem("settings readers, observers", "name someone twice, or 'owner'", "each once"))
        bad = sum(not NAME.fullmatch(person) for person in people)
        if bad:
            problems.append(Problem("settings readers, observers", f"{bad} bad names", "small letters, digits and -"))
        if not 0 < self.margin < 1:
            problems.append(Problem("setting margin", str(self.margin), "between 0 and 1"))
        for number, phase in enumerate(self.phases):
            if phase.same_images and (number == 0 or "pairs" in (phase.kind, self.phases[number - 1].kind)):
                found = "is set for a first phase, or one of pairs"
                problems.append(Problem("setting phases.same_images", found, "a phase after one of single images"))
        problems += self._blind_problems()
        if self.teaching and any(p.kind != "grade" or p.real or p.degraded for p in self.phases):
            found = "has real images, or phases that do not grade"
            problems.append(Problem("a teaching design", found, "phases of kind grade with real = 0, degraded = 0"))
        if problems:
            raise ConfigError(*problems)

    def _blind_problems(self) -> list[Problem]:
        """Before the first phase that asks about origin, no word of the owner's may give it away."""
        shown = [("title", self.title), ("consent", self.consent)]
        if not self.phases or self.phases[0].kind in ("origin", "pairs") or self.teaching:
            return []
        for number, phase in enumerate(self.phases):
            if phase.kind in ("origin", "pairs"):
                break
            shown += [(f"phases[{number}].intro", phase.intro), (f"phases[{number}].question", phase.question)]
        return [
            Problem(
                f"setting {name}", "tells readers that images may not be real", "words that do not",
                "the first phase is read unaware; explain the purpose in the last phase's intro",
            )
            for name, text in shown
            if TELLING.search(text)
        ]  # fmt: skip


def default_phases(label: str) -> tuple[Phase, ...]:
    """The protocol of the knee study: grade, unaware; two weeks later, tell real from synthetic."""
    return (
        Phase("grade", label=label, repeats=6, degraded=3),
        Phase("origin", label=label, degraded=3, washout_days=14, training=4),
    )
