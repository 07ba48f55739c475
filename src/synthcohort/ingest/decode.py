"""One source file to standardized images, with what a record needs to know of each."""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import xxhash

from synthcohort.formats import FORMATS, Image, Place, ReadOptions, Refusal, Unreadable
from synthcohort.formats.voxels import MEANT, share_below, weigh
from synthcohort.imaging.fingerprint import Fingerprint, fingerprint
from synthcohort.imaging.geometry import Fit, Placement, placement
from synthcohort.imaging.intensity import value_range_of
from synthcohort.ingest.archive import open_source
from synthcohort.ingest.deidentify import Pseudonyms, clean_facts
from synthcohort.ingest.scan import SourceFile
from synthcohort.ingest.terms import is_placeholder_id

if TYPE_CHECKING:  # loaded where they are used: most processes that decode need neither
    from synthcohort.ingest.header_profile import HeaderOptions
    from synthcohort.ingest.pixel_text import TextPolicy

SIGNED_ZERO = 2**15
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
    modalities: Mapping[str, str] = field(default_factory=dict)  # by file name, as a table says; before those of `read`


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
    if file.name in task.modalities:
        task = replace(task, read=replace(task.read, modality=task.modalities[file.name]))
    try:
        source = open_source(task.root, file)
        digest = None
        if file.size <= READ_WHOLE:  # once from disk, for the digest and for the reader
            source = replace(source, data=source.read())
            digest = pseudonyms.source(source.read())
        seen, signed = False, None
        for item in FORMATS[kind](source, task.read):
            seen = True
            if isinstance(item, Refusal):
                yield Failed(item.part, item.reason)
            else:
                if _has_signs(item, task) and item.signed is None:
                    if signed is None:  # once for all images of the file
                        signed = _signed(FORMATS[kind](source, task.read) if item.part else [item])
                    item = replace(item, signed=signed)
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
    content = content_key(pixels)
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
    window, bits, zero = image.window, image.bits_stored, 0
    if _has_signs(image, task):
        pixels, zero, said = _unsigned(pixels, bool(image.signed))
        window, bits = window and (window[0] + zero, window[1]), 16 if zero else min(bits, 15)
        notes += said
    spacing, where = image.pixel_spacing_mm, image.place
    if task.size:
        fill = zero or value_range_of(pixels.dtype, bits).low
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
        "patient": None if is_placeholder_id(raw.get("patient_id", "")) else pseudonyms.patient(raw["patient_id"]),
        "sop": pseudonyms.instance(raw["sop_instance_uid"]) if raw.get("sop_instance_uid") else None,
        "series": pseudonyms.series(raw["series_uid"]) if raw.get("series_uid") else None,
        "study": pseudonyms.study(raw["study_uid"]) if raw.get("study_uid") else None,
        "stack": list(image.stack),
        "number": image.number,
        "position_mm": list(where.position_mm) if where else None,
        "orientation": list(where.orientation) if where else None,
        "row": json.dumps(dict(image.row)) if image.row else None,
        "header": header,
        "dtype": pixels.dtype.name,
        "nbytes": pixels.nbytes,
    }
    return Decoded(image.part, np.ascontiguousarray(pixels), columns, mark)


def _has_signs(image: Image, task: Task) -> bool:
    """Whether its values are signed and no CT numbers; table or settings say the modality where the file does not."""
    return image.pixels.dtype == np.int16 and (image.facts.get("modality") or task.read.modality) != "CT"


def _signed(images: Iterable[Image | Refusal]) -> bool:
    """Whether values below 0 mean something, where the file does not say: when much of all its images lies there."""
    return share_below(sum((weigh(x.pixels) for x in images if isinstance(x, Image)), np.zeros(2))) >= MEANT


def _unsigned(pixels: np.ndarray, signed: bool) -> tuple[np.ndarray, int, list[str]]:
    """Signed values of anything but CT as uint16, the value that their 0 has become, and what there is to say of it.

    Intensities keep their zero, so that signed and unsigned scanners share one scale, and their few values below it,
    which filters and interpolation leave, become 0. Where values below 0 mean something (phases, differences,
    velocities), all are moved up by 32768. Which it is depends on the header or the whole file, never on one image:
    else slices of a series would lie on different scales. See docs/decisions/0020-signed-values.md.
    """
    if signed:
        moved = (pixels.astype(np.int32) + SIGNED_ZERO).astype(np.uint16)
        return moved, SIGNED_ZERO, ["signed values moved up by 32768"]
    said = ["negative values of no CT set to 0"] if (pixels < 0).any() else []
    return np.maximum(pixels, 0).astype(np.uint16), 0, said


def content_key(pixels: np.ndarray) -> str:
    """Equal for equal pixels, and nearly surely for no others: finds exact copies before anything is resized.

    Ten times as fast as a cryptographic hash, which nothing asks for here: the key stays in the journal.
    """
    state = xxhash.xxh3_128(f"{pixels.dtype.str} {pixels.shape}".encode())
    state.update(np.ascontiguousarray(pixels).view(np.uint8).reshape(-1).data)
    return state.hexdigest()


def _moved(place: Place, spacing: tuple[float, float], placed: Placement) -> Place:
    """The place of the standardized slice: the center of its first pixel lies elsewhere than the source's."""
    row, column = placed.to_source([0.5, 0.5]) - 0.5
    along, down = np.array(place.orientation[:3]), np.array(place.orientation[3:])
    position = np.array(place.position_mm) + along * column * spacing[1] + down * row * spacing[0]
    return replace(place, position_mm=(float(position[0]), float(position[1]), float(position[2])))
