"""Settings of ingest: the `[ingest]` section of a study file."""

import math
import re
from dataclasses import dataclass, field, fields
from typing import Literal

from synthcohort.core.config import require
from synthcohort.core.errors import ConfigError, Problem
from synthcohort.imaging.geometry import Fit
from synthcohort.ingest.dicomweb_config import DicomwebConfig


@dataclass(frozen=True)
class Columns:
    """Which column of the table holds what; empty means: recognized by its name, `-` means: do not use any."""

    file: str = ""
    sop_instance_uid: str = ""
    patient_id: str = ""
    group_id: str = ""
    split: str = ""
    sex: str = ""
    age: str = ""
    laterality: str = ""
    site: str = ""
    modality: str = ""
    body_part: str = ""
    view: str = ""
    ethnicity: str = ""
    caption: str = ""


@dataclass(frozen=True)
class Shares:
    """Parts of the images that each role gets; whole patients, so only nearly."""

    train: float = 0.65
    validation: float = 0.10
    control: float = 0.10
    test: float = 0.15

    def __post_init__(self) -> None:
        shares = {item.name: getattr(self, item.name) for item in fields(self)}
        problems = [
            Problem(f"setting ingest.shares.{name}", str(share), "0 to 1")
            for name, share in shares.items()
            if not 0 <= share <= 1
        ]
        if not math.isclose(sum(shares.values()), 1.0, abs_tol=1e-6):
            problems.append(Problem("setting ingest.shares", f"add up to {sum(shares.values()):g}", "1"))
        if problems:
            raise ConfigError(*problems)


@dataclass(frozen=True)
class Tiles:
    """Which tiles of a whole-slide image are taken."""

    size: int = 256  # rows and columns
    microns_per_pixel: float | None = None  # None takes the level nearest to 0.5
    most: int = 200  # of one slide, spread over its tissue
    tissue: float = 0.5  # least share of a tile that must be tissue

    def __post_init__(self) -> None:
        checks = [
            ("size", 16 <= self.size <= 4096, "16 to 4096"),
            ("microns_per_pixel", self.microns_per_pixel is None or self.microns_per_pixel > 0, "more than 0"),
            ("most", self.most >= 1, "1 or more"),
            ("tissue", 0 <= self.tissue <= 1, "0 to 1"),
        ]
        require("setting ingest.tiles.", self, checks)


@dataclass(frozen=True)
class IngestConfig:
    """How files become a cohort."""

    name: str = ""  # the cohort's name; empty takes the output folder's
    size: int | tuple[int, int] = 0  # 0 keeps every image's own; a number makes squares; or [rows, columns]
    fit: Fit = "pad"  # other aspect ratios: pad shows all, crop fills, stretch distorts
    table: str = ""  # the table in the source folder; empty finds it
    unlisted: Literal["refuse", "take"] = "refuse"  # images that the table does not name
    columns: Columns = field(default_factory=Columns)
    label: str = ""  # the main label, by which the split is stratified; empty takes the likeliest
    labels: tuple[str, ...] = ()  # label columns; empty takes every column that looks like one
    keep_captions: bool = False  # captions are free text and may name people: kept only when you know they do not
    folders: Literal["auto", "label", "patient", "ignore"] = "auto"  # what folder names mean where no table is
    slices: str = "all"  # of a volume: all, middle, or every:N (the middle one and every N-th from it)
    tiles: Tiles = field(default_factory=Tiles)
    # Text burned into pixels. quarantine: such images are refused; blank: the text is painted over; unchecked: nobody
    # looks, and the cohort says so. Images whose header rules text out are not looked at.
    pixel_text: Literal["quarantine", "blank", "unchecked"] = "quarantine"
    markers: Literal["keep", "blank", "text"] = "keep"  # laterality markers (R, L): kept, painted over, or text
    # Near-duplicates. group: kept in one role; report: only counted; off: not looked for
    near_duplicates: Literal["group", "report", "off"] = "group"
    captions: str = ""  # a TOML file of caption templates; empty takes the built-in ones, - writes no captions
    headers: Literal["none", "clean"] = "none"  # keep DICOM headers, de-identified after PS3.15 Annex E, in the cohort
    dates: Literal["remove", "shift"] = "remove"  # in kept headers: shift keeps the days between a patient's studies
    given_split: Literal["respect", "ignore"] = "respect"  # a split column of the table
    shares: Shares = field(default_factory=Shares)
    modality: str = ""  # for images whose file and table do not say, for example DX
    body_part: str = ""
    # Pseudonyms are keyed hashes. `random`: a secret key beside the cohort (`<out>.key`), made once and kept.
    # `seed`: derived from the seed, so that all can be repeated anywhere; no secret, only for public or made-up data.
    key: Literal["random", "seed"] = "random"
    key_file: str = ""  # an existing key to share pseudonyms between cohorts; empty is `<out>.key`
    dicomweb: DicomwebConfig = field(default_factory=DicomwebConfig)  # for SOURCE dicomweb:URL
    workers: int = 0  # processes that decode; 0 chooses by the amount of work

    def __post_init__(self) -> None:
        problems = []
        sizes = self.size if isinstance(self.size, tuple) else (self.size,)
        if self.size != 0 and not all(8 <= n <= 8192 for n in sizes):
            problems.append(Problem("setting ingest.size", str(self.size), "0 (native), or 8 to 8192"))
        if self.slices not in ("all", "middle") and not re.fullmatch(r"every:[1-9]\d{0,3}", self.slices):
            problems.append(Problem("setting ingest.slices", repr(self.slices), "all, middle, or every:N"))
        if self.workers < 0:
            problems.append(Problem("setting ingest.workers", str(self.workers), "0 (chosen) or more"))
        if self.key == "seed" and self.key_file:
            problems.append(Problem("setting ingest.key_file", "is set", "nothing when ingest.key is seed"))
        if self.label and self.labels and self.label not in self.labels:
            problems.append(Problem("setting ingest.label", self.label, ", ".join(self.labels)))
        if problems:
            raise ConfigError(*problems)
