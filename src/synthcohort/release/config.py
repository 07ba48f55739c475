"""What a release has to say about itself, and what the bundle holds. The words are the owner's; none are invented."""

from dataclasses import dataclass, field
from typing import Literal

from synthcohort.core.errors import ConfigError, Problem

Format = Literal["dicom", "png", "nifti", "parquet", "classes"]
# Acquisition values that may be simulated on request; which class holds which stands in formats.dicom_simulated.
SIMULATED = (
    "KVP", "ExposureTime", "XRayTubeCurrent", "SliceThickness", "RepetitionTime", "EchoTime", "FlipAngle",
    "MagneticFieldStrength",
)  # fmt: skip
LEAST_REASON = 12  # characters of a written reason
FORMATS = ("dicom", "png", "nifti", "parquet", "classes")


@dataclass(frozen=True)
class ReleaseConfig:
    """Statements that only a person can make, and what the bundle holds."""

    license: str = ""  # for example "CC BY 4.0"; a release without one is refused
    intended_use: str = ""  # one sentence; empty: an open question that stays visible in the bundle
    not_intended_for: str = ""  # one sentence; as above
    contact: str = ""  # who answers questions about the bundle; as above
    formats: tuple[Format, ...] = ("dicom", "png")
    images_per_class: int = 16  # on the report's sheets
    site_images: int = 2000  # shown by the bundle's own pages, at even steps through the cohort; 0: no such pages
    pdf: bool = False  # the documents as PDF as well; needs weasyprint (extra `pdf`)
    c2pa: bool = False  # PNG files carry C2PA content credentials; needs a key, and c2pa-python (extra `c2pa`)
    c2pa_chain: str = ""  # PEM of an authority's certificate for the key; empty: the key issues one for itself
    # Acquisition values that no scanner set, only on request, by DICOM keyword: {KVP = 120}. Each file says so.
    simulated: dict[str, float] = field(default_factory=dict)
    # Rules set aside: {"family:harm" = "a written reason"}. It counts where the rule does not hold, and stays visible.
    overrides: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        problems = []
        if not self.formats or len(set(self.formats)) != len(self.formats):
            found = repr(list(self.formats))
            problems.append(Problem("setting release.formats", found, f"{', '.join(FORMATS)}, one or more, each once"))
        if not 1 <= self.images_per_class <= 64:
            problems.append(Problem("setting release.images_per_class", str(self.images_per_class), "1 to 64"))
        if not 0 <= self.site_images <= 20000:
            problems.append(Problem("setting release.site_images", str(self.site_images), "0 to 20000"))
        for name, value in self.simulated.items():
            if name not in SIMULATED:
                problems.append(Problem(f"setting release.simulated.{name}", "is unknown", ", ".join(SIMULATED)))
            elif not 0 < value < 1e6:
                problems.append(Problem(f"setting release.simulated.{name}", f"{value:g}", "above 0"))
        for name, reason in self.overrides.items():
            if says_nothing(reason):
                found = "its reason says nothing"
                problems.append(Problem(f"setting release.overrides.{name}", found, "a sentence that others can read"))
        if problems:
            raise ConfigError(*problems)


def says_nothing(reason: str) -> bool:
    """Whether a written reason is too short to be one."""
    return len(reason.strip()) < LEAST_REASON or len(reason.split()) < 3
