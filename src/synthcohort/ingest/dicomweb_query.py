"""What a DICOMweb server has of what was asked for: studies, their series, their instances (QIDO-RS, PS3.18 8.3, 10.6).

A server may overlook a filter that it doesn't know. What its rows say is therefore held against the filters once more;
filters that its rows say nothing about are named as unconfirmed.
"""

import fnmatch
import hashlib
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from synthcohort.core.errors import InputError, Problem
from synthcohort.ingest.dicomweb_client import Client
from synthcohort.ingest.dicomweb_config import DicomwebConfig
from synthcohort.ingest.inbox import is_uid

STUDY_DATE, MODALITIES, STUDY_DESCRIPTION, PATIENT_ID = "00080020", "00080061", "00081030", "00100020"
MODALITY, BODY_PART, SERIES_DESCRIPTION = "00080060", "00180015", "0008103E"
STUDY_UID, SERIES_UID, SOP_UID, SOP_CLASS = "0020000D", "0020000E", "00080018", "00080016"
NUM_SERIES, NUM_INSTANCES, INSTANCE_NUMBER = "00201206", "00201209", "00200013"
MAX_PAGES = 100_000
MAX_PATIENTS = 1_000_000
Row = Mapping[str, Any]

# Storage classes without pixels: nothing of them can enter a cohort, and what is not needed is not copied out of the
# archive. Whole families, and single classes, after the root of all storage classes (DICOM PS3.4 B.5).
_ROOT = "1.2.840.10008.5.1.4.1.1."
_FAMILIES = ("9.", "11.", "68.", "78.", "79.", "80.", "88.", "90.", "104.", "200.", "201.")
_SINGLE = {
    "66", "66.1", "66.2", "66.3", "66.5", "66.6", "67", "481.3", "481.4", "481.5", "481.6", "481.7", "481.8", "481.9",
}  # fmt: skip


@dataclass(frozen=True)
class Series:
    """A series and its instances. UIDs are identifiers: they stand in addresses, and in no message."""

    study_uid: str
    series_uid: str
    instances: tuple[str, ...]

    @property
    def path(self) -> str:
        return f"/studies/{self.study_uid}/series/{self.series_uid}"


@dataclass
class Listing:
    """What was found: series in order, and counts of what was left out, by reason."""

    series: list[Series] = field(default_factory=list)
    studies: int = 0
    left_out: Counter[str] = field(default_factory=Counter)
    unconfirmed: set[str] = field(default_factory=set)

    @property
    def images(self) -> int:
        return sum(len(item.instances) for item in self.series)


@dataclass
class _Study:
    """What one study holds."""

    series: list[Series] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)
    unconfirmed: set[str] = field(default_factory=set)


Parallel = Callable[[Callable[[Any], Any], Sequence[Any]], Iterator[Any]]


def find(client: Client, config: DicomwebConfig, parallel: Parallel) -> Listing:
    """Lists all instances that fit the filters, study by study in an order that scatters over the archive.

    `parallel(work, items)` yields the results in the order of the items. Raises InputError when the server cannot be
    reached or doesn't answer queries, or nothing fits.
    """
    found = Listing()
    uids = _studies(client, config, found)
    ordered = sorted(uids, key=lambda uid: hashlib.sha256(uid.encode()).digest())
    seen: set[str] = set()
    for study in parallel(lambda uid: _study(client, config, uid), ordered):
        found.left_out += study.left_out
        found.unconfirmed |= study.unconfirmed
        found.studies += bool(study.series)
        for series in study.series:
            fresh = tuple(uid for uid in series.instances if uid not in seen)
            found.left_out["listed twice"] += len(series.instances) - len(fresh)
            if config.limit:
                fresh = fresh[: config.limit - len(seen)]
            seen.update(fresh)
            if fresh:
                found.series.append(Series(series.study_uid, series.series_uid, fresh))
        if config.limit and len(seen) >= config.limit:
            break
    found.left_out = +found.left_out
    if not found.series:
        reasons = "; ".join(f"{reason} ({count})" for reason, count in sorted(found.left_out.items()))
        what = f"has {len(uids)} matching studies without an image to fetch" if uids else "has no matching study"
        raise client.error(what + (f": {reasons}" if reasons else ""), "check the settings of ingest.dicomweb")
    return found


def read_patients(path: str) -> tuple[str, ...]:
    """Patient IDs, one a line. Raises InputError; says lines by number, never what stands in them."""
    try:
        lines = Path(path).read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not UTF-8 text"
        raise InputError(
            Problem(f"patient list {path}", f"cannot be read ({reason})", "one Patient ID a line")
        ) from None
    wrong = [number for number, line in enumerate(lines, 1) if not _is_patient_id(line.strip())]
    patients = tuple(dict.fromkeys(line.strip() for line in lines if line.strip()))
    if wrong:
        shown = ", ".join(map(str, wrong[:5])) + (" and more" if len(wrong) > 5 else "")
        allowed = "up to 64 printable letters a line, without * ? \\ and ,"
        raise InputError(Problem(f"patient list {path}", f"line {shown} cannot be a Patient ID", allowed))
    if not 0 < len(patients) <= MAX_PATIENTS:
        raise InputError(Problem(f"patient list {path}", f"{len(patients)} lines", f"1 to {MAX_PATIENTS}"))
    return patients


def _is_patient_id(text: str) -> bool:
    """An empty line is fine; wildcards would match other patients."""
    return len(text) <= 64 and text.isprintable() and not set(text) & set("*?\\,")


def _studies(client: Client, config: DicomwebConfig, found: Listing) -> list[str]:
    """Study Instance UIDs that fit."""
    base = [("StudyDate", f"{_plain(config.since)}-{_plain(config.until)}")] if config.since or config.until else []
    if config.study_description:
        base += [("StudyDescription", _plainly(config.study_description)), ("includefield", STUDY_DESCRIPTION)]
    patients = read_patients(config.patients) if config.patients else (None,)
    # Modalities are asked for one by one only where the list of patients doesn't make the questions many already.
    modalities = (None,) if config.patients or not config.modalities else config.modalities
    uids: dict[str, None] = {}
    for patient in patients:
        for modality in modalities:
            fields = list(base)
            if patient is not None:
                fields.append(("PatientID", _plainly(patient)))
            if modality is not None:
                fields.append(("ModalitiesInStudy", modality))
            for row in _rows(client, config, "/studies", fields, STUDY_UID, None, found.left_out):
                if _fits_study(row, config, patient, found):
                    uids.setdefault(_first(row, STUDY_UID))
    return list(uids)


def _fits_study(row: Row, config: DicomwebConfig, patient: str | None, found: Listing) -> bool:
    tests: list[tuple[str, str, Callable[[list[str]], bool]]] = []
    if patient is not None:
        if _plainly(patient) != patient and not _values(row, PATIENT_ID):
            return False  # it was asked for with wildcards: nothing but the answer can tell whose study it is
        tests.append(("patients", PATIENT_ID, lambda values: patient in values))
    if config.since or config.until:
        first, last = _plain(config.since) or "0", _plain(config.until) or "9"
        tests.append(("dates", STUDY_DATE, lambda values: first <= re.sub(r"\D", "", values[0])[:8] <= last))
    if config.study_description:
        tests.append(("study_description", STUDY_DESCRIPTION, lambda values: _like(values, config.study_description)))
    if config.modalities:
        tests.append(("", MODALITIES, lambda values: bool(set(values) & set(config.modalities))))
    return _fits(row, tests, found)


def _fits(row: Row, tests: Sequence[tuple[str, str, Callable[[list[str]], bool]]], found: Listing | _Study) -> bool:
    """Holds a row against filters; a test without a name is repeated further down and leaves nothing unconfirmed."""
    for name, tag, passes in tests:
        values = _values(row, tag)
        if not values:
            found.unconfirmed |= {name} - {""}
        elif not passes(values):
            found.left_out["did not fit the filters, though the server listed it"] += 1
            return False
    return True


def _study(client: Client, config: DicomwebConfig, study_uid: str) -> _Study:
    """The series of one study that fit, with their instances."""
    found = _Study()
    fields = [("includefield", BODY_PART)] if config.body_parts else []
    if config.series_description:
        fields += [("SeriesDescription", _plainly(config.series_description)), ("includefield", SERIES_DESCRIPTION)]
    combinations = [
        [(key, word) for key, word in (("Modality", modality), ("BodyPartExamined", part and _plainly(part))) if word]
        for modality in (config.modalities or (None,))
        for part in (config.body_parts or (None,))
    ]
    tests: list[tuple[str, str, Callable[[list[str]], bool]]] = []
    if config.modalities:
        tests.append(("modality", MODALITY, lambda values: values[0] in config.modalities))
    if config.body_parts:
        tests.append(("body_part", BODY_PART, lambda values: values[0].upper() in config.body_parts))
    if config.series_description:
        tests.append(("series_description", SERIES_DESCRIPTION, lambda v: _like(v, config.series_description)))
    path = f"/studies/{study_uid}/series"
    rows: dict[str, Row] = {}
    for combination in combinations:
        for row in _rows(client, config, path, [*combination, *fields], SERIES_UID, None, found.left_out):
            rows.setdefault(_first(row, SERIES_UID), row)
    for series_uid in sorted(rows):
        if _fits(rows[series_uid], tests, found):
            instances = _instances(client, config, f"{path}/{series_uid}/instances", rows[series_uid], found)
            found.series.append(Series(study_uid, series_uid, instances))
    return found


def _instances(client: Client, config: DicomwebConfig, path: str, series: Row, found: _Study) -> tuple[str, ...]:
    """SOP Instance UIDs of a series, by Instance Number, without objects that hold no image."""
    expected = _number(series, NUM_INSTANCES)
    kept = []
    for row in _rows(client, config, path, [], SOP_UID, expected, found.left_out):
        if not is_image(_first(row, SOP_CLASS)):
            found.left_out["no image: a report, a plan, a measurement or the like"] += 1
            continue
        kept.append((_number(row, INSTANCE_NUMBER) or 0, _first(row, SOP_UID)))
    return tuple(uid for _, uid in sorted(kept))


def is_image(sop_class_uid: str) -> bool:
    """False for storage classes that never hold pixels; True for all others, unknown ones included."""
    kind = sop_class_uid.removeprefix(_ROOT)
    return kind == sop_class_uid or not (kind.startswith(_FAMILIES) or kind in _SINGLE)


def _rows(
    client: Client, config: DicomwebConfig, path: str, fields: Sequence[tuple[str, str]], key: str,
    expected: int | None, left_out: Counter[str],
) -> Iterator[Row]:  # fmt: skip
    """All rows of a query, page by page; rows without a proper UID under `key` are counted and left out.

    A short page is no end: servers cap pages as they like. The end is an empty page, a page that brings nothing new
    (from servers without paging), or the number of rows that is known to be `expected`.
    """
    seen: set[str] = set()
    offset = 0
    for _ in range(MAX_PAGES):
        window = [("limit", str(config.page_size)), ("offset", str(offset))]
        rows, more = client.query(path, [*fields, *window], may_be_gone=path != "/studies")
        offset += len(rows)
        fresh = 0
        for row in rows:
            uid = _first(row, key)
            if not is_uid(uid):
                left_out["listed without a valid UID"] += 1
            elif uid not in seen:
                seen.add(uid)
                fresh += 1
                yield row
        if not fresh or (expected is not None and len(seen) >= expected and not more):
            return
    raise client.error(f"a query has more than {MAX_PAGES} pages", "choose narrower filters")


def _values(row: Row, tag: str) -> list[str]:
    """Values of an attribute as text (DICOM JSON, PS3.18 F.2); an empty list when it is absent or malformed."""
    element = row.get(tag)
    values = element.get("Value") if isinstance(element, dict) else None
    if not isinstance(values, list):
        return []
    return [str(value).strip() for value in values if isinstance(value, (str, int, float)) and str(value).strip()]


def _first(row: Row, tag: str) -> str:
    return next(iter(_values(row, tag)), "")


def _number(row: Row, tag: str) -> int | None:
    text = _first(row, tag)
    return int(text) if re.fullmatch(r"\d{1,9}", text) else None


def _like(values: Sequence[str], pattern: str) -> bool:
    """Whether a text fits a pattern with * and ?, whatever the case; [ is a letter like any other."""
    wanted = pattern.casefold().replace("[", "[[]")
    return any(fnmatch.fnmatchcase(value.casefold(), wanted) for value in values)


def _plainly(pattern: str) -> str:
    """A pattern without letters that need encoding in an address: any letter in their place.

    It may match more, and what the server lists is held against the filter itself. Orthanc's plugin up to 1.7 takes
    encoded letters for what they look like: `Knee%20AP` finds nothing.
    """
    return re.sub(r"[^A-Za-z0-9._~*?-]", "?", pattern)


def _plain(day: object) -> str:
    return str(day).replace("-", "")
