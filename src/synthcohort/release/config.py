"""What a release has to say about itself. The words are the owner's; nothing here is invented for them."""

from dataclasses import dataclass
from typing import Literal

from synthcohort.core.errors import ConfigError, Problem


@dataclass(frozen=True)
class ReleaseConfig:
    """Statements that only a person can make, and what the bundle holds."""

    license: str = ""  # for example "CC BY 4.0"; a release without one is refused
    intended_use: str = ""  # one sentence; empty: an open question that stays visible in the bundle
    not_intended_for: str = ""  # one sentence; as above
    contact: str = ""  # who answers questions about the bundle; as above
    formats: tuple[Literal["dicom", "png"], ...] = ("dicom", "png")
    images_per_class: int = 16  # on the report's sheets

    def __post_init__(self) -> None:
        problems = []
        if not self.formats or len(set(self.formats)) != len(self.formats):
            found = repr(list(self.formats))
            problems.append(Problem("setting release.formats", found, "dicom, png, or both, each once"))
        if not 1 <= self.images_per_class <= 64:
            problems.append(Problem("setting release.images_per_class", str(self.images_per_class), "1 to 64"))
        if problems:
            raise ConfigError(*problems)
