"""What every reader takes and gives: bytes in, images out, with what is needed to understand them.

Words: a *source* is a file, on disk or inside an archive; a *part* names one image of a source that holds several; a
*place* is where a slice lies in the patient. A reader is a function `read(source, options)` that yields an `Image` or
a `Refusal` for each image of the source, in an order that depends on the source alone, and raises `Unreadable` when
the source as a whole cannot be read.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from synthcohort.core.errors import InputError

MAX_PIXELS = 2**28


class Unreadable(InputError):
    """A file that is refused; the message is one sentence fit for a list, and holds no value from the file's header."""


@dataclass(frozen=True)
class Source:
    """A file to read: `path` on disk, or `data` in memory where it is a member of an archive."""

    name: str
    path: Path | None = None
    data: bytes | None = None

    @classmethod
    def of(cls, thing: "Source | Path | bytes") -> "Source":
        if isinstance(thing, Source):
            return thing
        return cls(thing.name, path=thing) if isinstance(thing, Path) else cls("bytes", data=thing)

    def read(self) -> bytes:
        """All of it. Raises Unreadable when the file cannot be read."""
        if self.data is not None:
            return self.data
        assert self.path is not None
        try:
            return self.path.read_bytes()
        except OSError as error:
            raise Unreadable(f"cannot be read ({error.strerror})") from None


@dataclass(frozen=True)
class Place:
    """Where a slice lies in the patient. Source: DICOM PS3.3 C.7.6.2.1.1 (millimetres, axes to left, back and head)."""

    position_mm: tuple[float, float, float]  # center of the first pixel
    orientation: tuple[float, float, float, float, float, float]  # direction cosines along a row, then down a column
    thickness_mm: float | None = None


@dataclass(frozen=True)
class Image:
    """One decoded image. `facts` may travel after cleaning; `identifiers` may not, and are for hashing alone.

    facts: modality, body_part, laterality, view, manufacturer, sex, age (years): as the header says them, or absent.
    identifiers: patient_id, issuer, series_uid, sop_instance_uid, study_uid.
    signed: whether values below 0 mean something, as in CT, phases and differences, or are what filters left; None
        where the source does not say. Settled by its header or by all of it, never by one image: see decision 0020.
    stack: numbers that tell images at one place apart (echo time, b-value, …), alike for all of a series; -1: not said.
    notes: what was changed on the way, in words without values, for example that MONOCHROME1 was inverted.
    may_carry_text: False only when the source rules out text burned into the pixels.
    """

    pixels: np.ndarray  # [rows, columns] or [rows, columns, 3]; uint8, uint16 or int16
    bits_stored: int
    pixel_spacing_mm: tuple[float, float] | None = None  # between rows, between columns
    window: tuple[float, float] | None = None  # center and width, in the units of `pixels`
    facts: Mapping[str, Any] = field(default_factory=dict)
    identifiers: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    part: str = ""  # which image of the source: empty when there is one alone, else unique in it, as in "frame 3"
    frame: int | None = None  # number of the image in the source's order, from 0; None when there is one alone
    place: Place | None = None
    row: Mapping[str, str] = field(default_factory=dict)  # what the source says of the image as a table would: columns
    may_carry_text: bool = True
    header: Any = None  # DICOM only: the pydicom Dataset without its pixels, for de-identification; never kept as it is
    stack: tuple[float, ...] = ()
    number: int | None = None  # Instance Number
    signed: bool | None = None


@dataclass(frozen=True)
class Refusal:
    """One image of a source that cannot be taken, while others of the same source may be."""

    part: str
    reason: str


@dataclass(frozen=True)
class ReadOptions:
    """How sources that hold many images are read.

    slices         which slices of a volume: all, middle, or every:N (the middle one and every N-th from it)
    tile_size      rows and columns of the tiles of a whole-slide image
    tile_um        microns per pixel of the tiles; None takes the level nearest to 0.5
    tiles          most tiles of one slide, spread over its tissue
    tissue         least share of a tile that must be tissue
    modality       of images whose source does not say, for example CT, whose numbers are then Hounsfield units
    """

    slices: str = "all"
    tile_size: int = 256
    tile_um: float | None = None
    tiles: int = 200
    tissue: float = 0.5
    modality: str = ""

    def pick(self, count: int) -> list[int]:
        """Positions of the slices taken out of `count`."""
        if self.slices == "middle":
            return [count // 2] if count else []
        if self.slices.startswith("every:"):
            step = int(self.slices.partition(":")[2])
            return list(range((count // 2) % step, count, step))
        return list(range(count))
