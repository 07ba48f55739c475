"""One source file to standardized images, with what a record needs to know of each."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from synthcohort.core.files import digest_array
from synthcohort.formats import FORMATS, Image, Place, ReadOptions, Refusal, Unreadable
from synthcohort.imaging.fingerprint import Fingerprint, fingerprint
from synthcohort.imaging.geometry import Fit, Placement, placement
from synthcohort.imaging.intensity import value_range_of
from synthcohort.ingest.archive import open_source
from synthcohort.ingest.deidentify import Pseudonyms, clean_facts
from synthcohort.ingest.scan import SourceFile

if TYPE_CHECKING:  # loaded where they are used: most processes that decode need neither
    from synthcohort.ingest.header_profile import HeaderOptions
    from synthcohort.ingest.pixel_text import TextPolicy

SIGNED_ZERO, FEW_NEGATIVE = 2**15, 0.05
READ_WHOLE = 256 * 2**20  # larger files are left to their reader, and have no source digest


@dataclass(frozen=True)
class Task:
    """How files are decoded: where they lie, what is wanted, and the key of all pseudonyms. Travels to each worker."""

    root: Path
    size: tuple[int, int] | None
    fit: Fit
    key: bytes
    read: ReadOptions = field(default_factory=ReadOptions)
    text: "TextPolicy | None" = None  # how burned-in text is looked for; None: it is not
    fingerprints: bool = True
    headers: "HeaderOptions | None" = None  # keep de-identified headers; None: no header is kept


@dataclass(frozen=True)
class Decoded:
    """One image, standardized, and what is known of it: pseudonyms, facts that passed the lists, checked numbers."""

    part: str
    pixels: np.ndarray
    facts: Mapping[str, Any]  # columns of the journal
    fingerprint: Fingerprint | None


@dataclass(frozen=True)
class Failed:
    """A refused image, or with an empty `part` a whole file, and the reason."""

    part: str
    reason: str


def decode(file: SourceFile, task: Task) -> Iterator[Decoded | Failed]:
    """Reads a file's images one by one; every image of it is yielded once, taken or refused."""
    kind, _, word = file.format.partition(":")
    if word:
        yield Failed("", f"{word} files are not supported")
        return
    pseudonyms = Pseudonyms(task.key)
    try:
        source = open_source(task.root, file)
        digest = None
        if file.size <= READ_WHOLE:  # once from disk, for the digest and for the reader
            source = replace(source, data=source.read())
            digest = pseudonyms.source(source.read())
        seen = False
        for item in FORMATS[kind](source, task.read):
            seen = True
            if isinstance(item, Refusal):
                yield Failed(item.part, item.reason)
            else:
                yield _standardized(file, item, digest, pseudonyms, task)
        if not seen:
            yield Failed("", "holds no image")
    except Unreadable as refusal:
        yield Failed("", str(refusal))
    except MemoryError:
        yield Failed("", "too large for this machine's memory")


def _standardized(
    file: SourceFile, image: Image, source_digest: str | None, pseudonyms: Pseudonyms, task: Task
) -> Decoded | Failed:
    pixels, notes = image.pixels, list(image.notes)
    content = digest_array(pixels)
    if task.text is not None and image.may_carry_text:
        from synthcohort.ingest.pixel_text import available, screen

        if (lacking := available()) is not None:
            return Failed(image.part, f"may carry burned-in text, which cannot be looked for: {lacking}")
        screened = screen(pixels, task.text, image.window)
        if screened.pixels is None:
            return Failed(image.part, "text is burned into its pixels")
        pixels = screened.pixels
        if screened.outcome == "blanked":
            notes.append("burned-in text painted over")
        if any(box.kind == "marker" for box in screened.boxes):
            notes.append("carries a laterality or position marker")
    mark = fingerprint(pixels) if task.fingerprints else None
    window, bits = image.window, image.bits_stored
    if pixels.dtype == np.int16 and image.facts.get("modality") != "CT":
        pixels, shift, said = _unsigned(pixels)
        window, bits = window and (window[0] + shift, window[1]), 16
        notes += said
    spacing, where = image.pixel_spacing_mm, image.place
    if task.size:
        fill = value_range_of(pixels.dtype, bits).low
        placed = placement((pixels.shape[0], pixels.shape[1]), task.size, task.fit, fill)
        where = where and spacing and _moved(where, spacing, placed)
        spacing = spacing and placed.spacing(spacing)
        pixels = placed.apply(pixels)
    facts, dropped = clean_facts(image.facts)
    raw = image.identifiers
    header = None
    if task.headers is not None and image.header is not None:
        from synthcohort.ingest.header_profile import deidentify, to_json

        header = to_json(deidentify(image.header, pseudonyms, task.headers)[0])
    columns = facts | {
        "image_id": pseudonyms.image(file.name if not image.part else f"{file.name}\0{image.part}"),
        "content_digest": content,
        "source_digest": source_digest,
        "frame": image.frame,
        "bits_stored": bits,
        "pixel_spacing_mm": list(spacing) if spacing else None,
        "window_center": window[0] if window else None,
        "window_width": window[1] if window else None,
        "dropped_facts": dropped,
        "notes": notes,
        "patient": pseudonyms.patient(raw["patient_id"]) if raw.get("patient_id") else None,
        "sop": pseudonyms.instance(raw["sop_instance_uid"]) if raw.get("sop_instance_uid") else None,
        "series": pseudonyms.series(raw["series_uid"]) if raw.get("series_uid") else None,
        "position_mm": list(where.position_mm) if where else None,
        "orientation": list(where.orientation) if where else None,
        "row": json.dumps(dict(image.row)) if image.row else None,
        "header": header,
        "dtype": pixels.dtype.name,
        "nbytes": pixels.nbytes,
    }
    return Decoded(image.part, np.ascontiguousarray(pixels), columns, mark)


def _unsigned(pixels: np.ndarray) -> tuple[np.ndarray, int, list[str]]:
    """Signed values of anything but CT as uint16, by how much they were moved, and what there is to say of it.

    Only CT numbers have a scale of their own with a meaning below 0. Elsewhere a few negative values are what filters
    and interpolation left, and one scale for signed and unsigned scanners matters more; many are a phase or a
    difference, which is moved up as a whole.
    """
    negative = np.count_nonzero(pixels < 0)
    if negative > FEW_NEGATIVE * pixels.size:
        return (
            (pixels.astype(np.int32) + SIGNED_ZERO).astype(np.uint16),
            SIGNED_ZERO,
            ["signed values moved up by 32768"],
        )
    said = ["negative values of no CT set to 0"] if negative else []
    return np.maximum(pixels, 0).astype(np.uint16), 0, said


def _moved(place: Place, spacing: tuple[float, float], placed: Placement) -> Place:
    """The place of the standardized slice: the center of its first pixel lies elsewhere than the source's."""
    row, column = placed.to_source([0.5, 0.5]) - 0.5
    along, down = np.array(place.orientation[:3]), np.array(place.orientation[3:])
    position = np.array(place.position_mm) + along * column * spacing[1] + down * row * spacing[0]
    return replace(place, position_mm=(float(position[0]), float(position[1]), float(position[2])))
