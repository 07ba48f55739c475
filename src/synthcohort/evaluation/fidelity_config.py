"""Settings of the fidelity figures and of measurements with a user's own function."""

from dataclasses import dataclass, field

from synthcohort.core.config import at_least
from synthcohort.core.errors import ConfigError, Problem


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
