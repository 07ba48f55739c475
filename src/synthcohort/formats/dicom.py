"""DICOM: images of all modalities, frames and transfer syntaxes in use, at native depth, with the facts ingest needs.

Pixels are modality values where these are exact integers of 16 bits, and large values are always shown bright; what was
changed on the way is noted. What is no image, not supported, damaged or cut off is refused with a reason. The parts:
`dicom_file` finds header and pixel data, `dicom_layout` checks how they are stored, `dicom_frames` and `dicom_codecs`
take frames out, `dicom_pixels` and `dicom_tables` say what their numbers mean, `dicom_header`, `dicom_geometry` and
`dicom_series` read the facts.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pydicom

from synthcohort.formats import dicom_geometry as geometry
from synthcohort.formats.dicom_file import Parsed, looks_like_dicom, opened, parse, quiet
from synthcohort.formats.dicom_frames import Frames, frames_of
from synthcohort.formats.dicom_header import (
    FrameHeader,
    age_from_dates,
    alone,
    frame_headers,
    get,
    header_facts,
    identifiers,
    may_carry_text,
    text,
)
from synthcohort.formats.dicom_layout import GRAY, PALETTE, Layout, layout
from synthcohort.formats.dicom_pixels import Meaning, values_of
from synthcohort.formats.dicom_series import instance_number, signed, stack
from synthcohort.formats.dicom_tables import modality_table, palette
from synthcohort.formats.image import Image, Place, ReadOptions, Refusal, Source, Unreadable

ALL = ReadOptions()
__all__ = ["age_from_dates", "header_facts", "identifiers", "looks_like_dicom", "read"]


@dataclass(frozen=True)
class _Object:
    """A DICOM object ready to be read frame by frame."""

    ds: pydicom.FileDataset
    layout: Layout
    frames: Frames
    headers: list[FrameHeader]
    places: list[Place | None]
    meaning: Meaning
    facts: dict[str, Any]  # of the first frame
    identifiers: dict[str, str]
    may_carry_text: bool
    modality: str | None  # by the header, else by the options
    taken: list[int]


def read(source: Source | Path | bytes, options: ReadOptions = ALL) -> Iterator[Image | Refusal]:
    """The frames of a DICOM object, one at a time, or the single image of it.

    Frames that lie in the patient are counted from the lowest slice to the highest when `options` picks some, others
    in the order of the file; they come in the order of the file. Raises Unreadable for the object as a whole.
    """
    with opened(Source.of(source)) as file:
        with _guarded():
            found = _object(parse(file), options)
        for number in found.taken:
            yield _frame(found, number)


@contextmanager
def _guarded() -> Iterator[None]:
    """Whatever goes wrong in a damaged object is Unreadable, in words that hold none of its values."""
    try:
        with quiet():
            yield
    except Unreadable:
        raise
    except MemoryError:
        raise Unreadable("too large to decode in this machine's memory") from None
    except Exception as error:  # a damaged header may fail anywhere, with any exception
        raise Unreadable(f"damaged: its header cannot be understood ({type(error).__name__})") from error


def _object(parsed: Parsed, options: ReadOptions) -> _Object:
    ds, of = parsed.ds, layout(parsed)
    frames = frames_of(parsed, of)
    headers = frame_headers(ds, of.frames)
    modality = text(ds, "Modality") or options.modality or None
    places = [geometry.place(header) for header in headers]
    taken = [0]
    if of.frames > 1:
        order = geometry.in_order(places)
        taken = sorted(order[i] for i in options.pick(of.frames))
    return _Object(
        ds, of, frames, headers, places, _meaning(parsed, of, modality), header_facts(headers[0]), identifiers(ds),
        may_carry_text(ds), modality, taken,
    )  # fmt: skip


def _meaning(parsed: Parsed, of: Layout, modality: str | None) -> Meaning:
    """What holds for all frames."""
    ds = parsed.ds
    gray = of.photometric in GRAY
    return Meaning(
        ct=gray and modality == "CT",
        padding=_padding(ds, of) if gray else None,
        table=modality_table(ds, of.signed, parsed.little_endian) if gray else None,
        palette=palette(ds, of.signed, parsed.little_endian) if of.photometric == PALETTE else None,
    )


def _padding(ds: pydicom.Dataset, of: Layout) -> tuple[float, float] | None:
    """Lowest and highest padding value. Source: DICOM PS3.3 C.7.5.1.1.2 and C.7.6.3.1.5."""
    prefix = {"FloatPixelData": "Float", "DoubleFloatPixelData": "DoubleFloat"}.get(of.element.keyword, "")
    ends = [get(ds, f"{prefix}PixelPadding{name}") for name in ("Value", "RangeLimit")]
    if ends[0] in (None, ""):
        return None
    try:
        numbers = [float(end) for end in ends if end not in (None, "")]
    except (TypeError, ValueError):  # no number: nothing is known to be padding
        return None
    if not of.floating:
        cells = 2**of.allocated
        if any(not -cells // 2 <= number < cells for number in numbers):
            return None
        # Written with the wrong sign more often than not: it is the same cell.
        numbers = [number % cells for number in numbers]
        numbers = [number - cells if of.signed and number >= cells // 2 else number for number in numbers]
    return min(numbers), max(numbers)


def _frame(found: _Object, number: int) -> Image | Refusal:
    """Raises Unreadable when it is the only one."""
    several = found.layout.frames > 1
    part = f"frame {number + 1}" if several else ""
    try:
        with _guarded():
            image = _image(found, number)
    except Unreadable as error:
        if not several:
            raise
        return Refusal(part, str(error))
    return replace(image, part=part, frame=number) if several else image


def _image(found: _Object, number: int) -> Image:
    header, of = found.headers[number], found.layout
    cells, stream = found.frames.read(number)
    meaning = geometry.meaning(header, found.meaning) if of.photometric in GRAY else found.meaning
    values = values_of(cells, stream, of, meaning)
    spacing, spacing_notes = geometry.spacing(header)
    window, window_notes = geometry.window(header, values, meaning) if of.photometric in GRAY else (None, ())
    return Image(
        values.pixels,
        values.bits,
        spacing,
        window,
        header_facts(header) if header.groups else found.facts,
        found.identifiers,
        (*of.notes, *found.frames.notes, *values.notes, *spacing_notes, *window_notes),
        place=found.places[number],
        may_carry_text=found.may_carry_text,
        header=alone(found.ds, number, of.frames),
        stack=stack(header),
        number=instance_number(header),
        signed=signed(header, found.modality),
    )
