"""What a DICOM header says of an image and its patient, for the whole object and for each of its frames.

Words: *functional groups* are the nested headers of an enhanced object, one shared by all frames and one for each;
what they say of a frame comes before what the object says. Source: DICOM PS3.3 C.7.6.16.
"""

import datetime
import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import pydicom
from pydicom.datadict import tag_for_keyword
from pydicom.tag import BaseTag

SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
SCANNERS = ("CT", "MR", "PT", "NM")  # their primary images hold what was measured and nothing else
_SHARED, _PER_FRAME = "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"


@dataclass(frozen=True)
class FrameHeader:
    """What holds for one frame."""

    ds: pydicom.Dataset
    groups: tuple[pydicom.Dataset, ...] = ()  # the frame's own before the shared ones

    def items(self, *sequences: str) -> Iterator[pydicom.Dataset]:
        """The first items of these groups, as far as there are any, and then the object's own header."""
        for group in self.groups:
            for name in sequences:
                item = first_item(group, name)
                if item is not None:
                    yield item
        yield self.ds

    def get(self, keyword: str, *sequences: str) -> Any:
        """The first value, or None."""
        return next((value for item in self.items(*sequences) if (value := get(item, keyword)) not in (None, "")), None)

    def text(self, keyword: str, *sequences: str) -> str | None:
        """The first value as text; None also where it is damaged."""
        return next((value for item in self.items(*sequences) if (value := text(item, keyword))), None)

    def numbers(self, keyword: str, count: int, *sequences: str) -> tuple[float, ...] | None:
        """The first value when it is `count` finite numbers, else None."""
        try:
            value = self.get(keyword, *sequences)
            values = [value] if isinstance(value, (int, float, str)) else list(value or ())
            found = tuple(float(v) for v in values)
        except Exception:  # one damaged element says nothing; it does not take the image with it
            return None
        return found if len(found) == count and all(map(math.isfinite, found)) else None


def frame_headers(ds: pydicom.Dataset, frames: int) -> list[FrameHeader]:
    """One for each frame."""
    shared = first_item(ds, _SHARED)
    rest = () if shared is None else (shared,)
    own = get(ds, _PER_FRAME)
    groups = list(own) if isinstance(own, pydicom.Sequence) else []
    return [FrameHeader(ds, (*groups[i : i + 1], *rest)) for i in range(frames)]


def alone(ds: pydicom.Dataset, frame: int, frames: int) -> pydicom.Dataset:
    """The header as it would be with this frame alone: of the groups for each frame, only its own are left.

    A shallow copy, so that it costs little.
    """
    if frames == 1:
        return ds
    # Elements are shared with `ds`, so that those which change are left out first and made anew.
    changing = {_tag("NumberOfFrames"), _tag(_PER_FRAME)}
    header = pydicom.Dataset({tag: ds.get_item(tag) for tag in ds.keys() if tag not in changing})  # noqa: SIM118
    implicit, little = ds.original_encoding
    header.set_original_encoding(implicit, little, ds.original_character_set)
    header.file_meta = ds.file_meta
    header.NumberOfFrames = 1
    own = get(ds, _PER_FRAME)
    if isinstance(own, pydicom.Sequence):
        header.PerFrameFunctionalGroupsSequence = list(own[frame : frame + 1])
    return header


def header_facts(header: FrameHeader) -> dict[str, Any]:
    """What it says about image and patient that may be kept once cleaned; absent where it does not say."""
    ds = header.ds
    facts = {
        "modality": text(ds, "Modality"),
        "body_part": text(ds, "BodyPartExamined") or _region(header),
        "laterality": header.text("FrameLaterality", "FrameAnatomySequence")
        or text(ds, "ImageLaterality")
        or text(ds, "Laterality"),
        "view": text(ds, "ViewPosition"),
        "manufacturer": text(ds, "Manufacturer"),
        "sex": text(ds, "PatientSex"),
        "age": text(ds, "PatientAge") or age_from_dates(text(ds, "PatientBirthDate"), text(ds, "StudyDate")),
    }
    return {name: value for name, value in facts.items() if value not in (None, "")}


def _region(header: FrameHeader) -> str | None:
    """The anatomic region by its code's meaning, where enhanced objects and new ones say it."""
    for item in header.items("FrameAnatomySequence"):
        region = first_item(item, "AnatomicRegionSequence")
        if region is not None:
            return text(region, "CodeMeaning")
    return None


def identifiers(ds: pydicom.Dataset) -> dict[str, str]:
    """What names the patient, the study, the series and the image: for hashing alone."""
    names = {
        "patient_id": "PatientID", "issuer": "IssuerOfPatientID", "series_uid": "SeriesInstanceUID",
        "sop_instance_uid": "SOPInstanceUID", "study_uid": "StudyInstanceUID",
    }  # fmt: skip
    found = {name: text(ds, keyword) for name, keyword in names.items()}
    return {name: value for name, value in found.items() if value}


def may_carry_text(ds: pydicom.Dataset) -> bool:
    """Whether text may be burned into the pixels; False only where the header rules it out.

    It does by Burned In Annotation NO, and by being a scanner's original primary image, unless it says YES.
    """
    burned = (text(ds, "BurnedInAnnotation") or "").upper()
    if burned in ("NO", "YES"):
        return burned == "YES"
    if text(ds, "Modality") not in SCANNERS or (text(ds, "SOPClassUID") or "").startswith(SECONDARY_CAPTURE):
        return True
    try:
        kind = [str(word).strip().upper() for word in get(ds, "ImageType") or ()]
    except Exception:  # a damaged element rules nothing out
        return True
    return kind[:2] != ["ORIGINAL", "PRIMARY"]


def age_from_dates(birth: str | None, study: str | None) -> float | None:
    """Completed years between two DICOM dates (YYYYMMDD), or None."""
    try:
        born = datetime.datetime.strptime(birth or "", "%Y%m%d").date()
        then = datetime.datetime.strptime(study or "", "%Y%m%d").date()
    except ValueError:
        return None
    years = then.year - born.year - ((then.month, then.day) < (born.month, born.day))
    return float(years) if years >= 0 else None


def get(ds: pydicom.Dataset, keyword: str) -> Any:
    """A value, or None: Dataset.get in half the time. May raise anything when the element is damaged."""
    tag = _tag(keyword)
    if tag not in ds.keys():  # noqa: SIM118 - a look into a dict; asking the data set costs an exception
        return None
    return ds[tag].value


@cache
def _tag(keyword: str) -> BaseTag:
    tag = tag_for_keyword(keyword)
    assert tag is not None, keyword
    return BaseTag(tag)


def first_item(ds: pydicom.Dataset, keyword: str) -> pydicom.Dataset | None:
    """The first item of a sequence; None where it is absent, empty or damaged."""
    try:
        value = get(ds, keyword)
    except Exception:  # see FrameHeader.numbers
        return None
    return value[0] if isinstance(value, pydicom.Sequence) and value else None


def text(ds: pydicom.Dataset, keyword: str) -> str | None:
    """A value as text, the first where there are several; None where it is absent, empty or damaged."""
    try:
        value = get(ds, keyword)
    except Exception:  # see FrameHeader.numbers
        return None
    if value is None or isinstance(value, (bytes, pydicom.Sequence)):
        return None
    word = str(value[0] if isinstance(value, pydicom.multival.MultiValue) and value else value)
    return word.strip().strip("\0").strip() or None
