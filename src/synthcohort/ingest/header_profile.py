"""De-identification of a DICOM header: Table E.1-1 of DICOM PS3.15 says what must go, our own list says what may stay.

A header is rebuilt, not scrubbed: `header_clean` makes a new one of what passed. The result is for facts and for
looking up; without pixels it is no SOP instance to be sent.
"""

import datetime
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import pydicom
from pydicom.datadict import tag_for_keyword
from pydicom.dataset import FileMetaDataset
from pydicom.uid import UID, UID_dictionary

from synthcohort.ingest.deidentify import Pseudonyms
from synthcohort.ingest.header_clean import Cleaner, quiet, read, word
from synthcohort.ingest.header_tables import EDITION
from synthcohort.ingest.header_values import age_string, parse_date, values_of

METHOD = f"SynthCohort, DICOM PS3.15 {EDITION} Table E.1-1"
# Source: DICOM PS3.16, context group 7050.
BASIC_CODE = ("113100", "Basic Application Confidentiality Profile")
OPTION_CODES = {
    "clean_pixel_data": ("113101", "Clean Pixel Data Option"),
    "clean_descriptors": ("113105", "Clean Descriptors Option"),
    "shift_dates": ("113107", "Retain Longitudinal Temporal Information Modified Dates Option"),
    "patient_characteristics": ("113108", "Retain Patient Characteristics Option"),
}
_COLUMNS = {
    "clean_descriptors": "clean_descriptors",
    "shift_dates": "retain_longitudinal_modified_dates",
    "patient_characteristics": "retain_patient_characteristics",
}


@dataclass(frozen=True)
class HeaderOptions:
    """The options of the profile that are offered; those that keep what somebody typed are not.

    shift_dates              dates are kept, moved by a number of days that is the patient's own; else they are removed
    patient_characteristics  sex, age (090Y for 90 and older), size, weight and others are kept where they pass a check
    clean_descriptors        descriptions keep the words that are on our list; else they are removed
    clean_pixel_data         only recorded: that somebody else has seen to text burned into the pixels
    """

    shift_dates: bool = False
    patient_characteristics: bool = True
    clean_descriptors: bool = True
    clean_pixel_data: bool = False

    def applied(self, patient: str) -> list[str]:
        """The options that really hold for a header: dates cannot be moved when the patient is not known."""
        return [name for name in OPTION_CODES if getattr(self, name) and (patient or name != "shift_dates")]


@dataclass(frozen=True)
class HeaderReport:
    """What was done: how often by action and keyword, without values; attributes DICOM does not know have no name here.

    Actions: kept, cleaned (words of a description, codes, values of lists), moved (dates), replaced (UIDs, patient id),
    emptied, filled (with a dummy), removed.
    """

    keywords: Mapping[str, Mapping[str, int]] = field(default_factory=dict)

    @property
    def counts(self) -> dict[str, int]:
        return {action: sum(names.values()) for action, names in sorted(self.keywords.items())}


def deidentify(
    header: pydicom.Dataset, pseudonyms: Pseudonyms, options: HeaderOptions, patient: str = ""
) -> tuple[pydicom.Dataset, HeaderReport]:
    """A new header that holds nothing of the old one but what was checked, and a report of what was done.

    `patient` overrides Patient ID where the patient is known from elsewhere. A header that this key has already cleaned
    under the same options comes back as it is. The old header is left alone. Source: DICOM PS3.15 Annex E.
    """
    with quiet():
        sealed = _sealed(header, pseudonyms, options)
        if sealed is not None:
            return sealed, HeaderReport()
        patient = patient or word(header, "PatientID")
        applied = options.applied(patient)
        days = pseudonyms.days(patient) if "shift_dates" in applied else None
        cleaner = Cleaner(pseudonyms, [_COLUMNS[name] for name in applied if name in _COLUMNS], patient, days)
        result = cleaner.dataset(header)
        if "patient_characteristics" in applied and not result.get("PatientAge"):
            _add_age(header, result)
        _mark(result, applied)
        result.DeidentificationMethod = [METHOD, f"seal {pseudonyms.seal(_content(result, options))}"]
        result.file_meta = _file_meta(header, result)
        return result, HeaderReport({action: dict(sorted(names.items())) for action, names in cleaner.done.items()})


def to_json(header: pydicom.Dataset) -> str:
    """A de-identified header in the DICOM JSON model (PS3.18 F), without file meta. Raises ValueError for any other."""
    if values_of(header.get("DeidentificationMethod"))[:1] != [METHOD]:
        raise ValueError("this header was not de-identified")
    return json.dumps(header.to_json_dict(), sort_keys=True, separators=(",", ":"))


def _add_age(old: pydicom.Dataset, new: pydicom.Dataset) -> None:
    """Patient's Age from the birth date, which itself goes, where the header gives no age of its own."""
    born = _date(old, ("PatientBirthDate",))
    then = _date(old, ("StudyDate", "SeriesDate", "AcquisitionDate", "ContentDate"))
    if born and then and born <= then:
        years = then.year - born.year - ((then.month, then.day) < (born.month, born.day))
        if years <= 130:
            new.PatientAge = age_string(years)


def _date(old: pydicom.Dataset, keywords: Iterable[str]) -> datetime.date | None:
    """The first of these elements that holds a date."""
    for keyword in keywords:
        element = read(old, tag_for_keyword(keyword) or 0, ("DA",))
        date = parse_date(element.value) if element is not None else None
        if date:
            return date
    return None


def _mark(result: pydicom.Dataset, applied: Iterable[str]) -> None:
    """Says what was done, in the words of the standard. Source: DICOM PS3.15 E.1.1, PS3.3 C.7.1.1 and C.12.1."""
    result.PatientIdentityRemoved = "YES"
    result.LongitudinalTemporalInformationModified = "MODIFIED" if "shift_dates" in applied else "REMOVED"
    if "clean_pixel_data" in applied:
        result.BurnedInAnnotation = "NO"
    items = []
    for value, meaning in (BASIC_CODE, *(OPTION_CODES[name] for name in applied)):
        item = pydicom.Dataset()
        item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, "DCM", meaning
        items.append(item)
    result.DeidentificationMethodCodeSequence = items


def _file_meta(old: pydicom.Dataset, new: pydicom.Dataset) -> FileMetaDataset:
    """File meta of the new header; of the old one's only a transfer syntax that DICOM knows."""
    meta = FileMetaDataset()
    for name, keyword in (("SOPClassUID", "MediaStorageSOPClassUID"), ("SOPInstanceUID", "MediaStorageSOPInstanceUID")):
        if new.get(name):
            setattr(meta, keyword, new[name].value)
    old_meta = getattr(old, "file_meta", None)
    element = read(old_meta, 0x00020010, ("UI",)) if old_meta is not None else None
    text = str(element.value).strip(" \0") if element is not None else ""
    if text in UID_dictionary and UID(text).type == "Transfer Syntax":
        meta.TransferSyntaxUID = UID(text)
    return meta


def _content(header: pydicom.Dataset, options: HeaderOptions) -> str:
    """All that a seal vouches for: the header but for the seal itself, and the options it was made with."""
    content = header.to_json_dict()
    content.pop("00120063", None)
    return json.dumps([content, repr(options)], sort_keys=True)


def _sealed(header: pydicom.Dataset, pseudonyms: Pseudonyms, options: HeaderOptions) -> pydicom.Dataset | None:
    """A fresh copy of a header that this key has sealed under these options, else None."""
    method = read(header, 0x00120063, ("LO",))
    words = values_of(method.value) if method is not None else []
    if len(words) != 2 or words[0] != METHOD:
        return None
    try:
        if words[1] != f"seal {pseudonyms.seal(_content(header, options))}":
            return None
        copy = pydicom.Dataset.from_json(header.to_json_dict())
    except Exception:  # what cannot be written as JSON was not written by us
        return None
    copy.file_meta = _file_meta(header, copy)
    return copy
