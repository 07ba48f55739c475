"""One header's way through the tables: element by element, sequences included, into a new data set.

An element enters the new data set only when it is standard, the profile lets it through under the options chosen, our
list of attributes names it, and its value passes the check found there. Everything else stays behind unread.
"""

import logging
import warnings
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pydicom
from pydicom.datadict import DicomDictionary, keyword_for_tag, tag_for_keyword
from pydicom.dataelem import DataElement, RawDataElement

from synthcohort.ingest.deidentify import Pseudonyms
from synthcohort.ingest.header_tables import Rule, codes, profile, rules
from synthcohort.ingest.header_values import clean, moved_date, values_of

DEEPEST = 8  # sequences inside sequences
LONGEST = 4096  # bytes of a value; none of our list is longer
MOST_ITEMS = 256
_UNKNOWN_LENGTH = 0xFFFFFFFF
_DUMMIES = {
    **dict.fromkeys(("AE", "CS", "LO", "LT", "PN", "SH", "ST", "UC", "UT"), "REMOVED"),
    **{"DA": "19000101", "DT": "19000101", "TM": "000000", "DS": "0", "IS": "0"},
}
_OLD_SNOMED = {"SNM3": "SRT", "99SDM": "SRT"}


@contextmanager
def quiet() -> Iterator[None]:
    """Keeps pydicom from warning and logging, because what it says quotes the values it finds wrong."""
    logger = logging.getLogger("pydicom")
    was_disabled = logger.disabled
    logger.disabled = True
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.disabled = was_disabled


class Cleaner:
    """Cleans data sets of one patient and keeps count of what it did, by action and keyword.

    `columns` are the options of Table E.1-1 that hold, `patient` the raw id (empty: unknown), `days` by how many days
    dates move (None: they are not kept).
    """

    def __init__(self, pseudonyms: Pseudonyms, columns: Sequence[str], patient: str, days: int | None):
        self.pseudonyms, self.columns, self.patient, self.days = pseudonyms, columns, patient, days
        self.profile, self.rules = profile(), rules()
        self.done: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))

    def dataset(self, old: pydicom.Dataset, depth: int = 0) -> pydicom.Dataset:
        new = pydicom.Dataset()
        for tag in sorted(map(int, old.keys())):
            element, done = self.element(old, tag, depth)
            if element is not None:
                new[tag] = element
            self.done[done][_name(tag)] += 1
        return new

    def element(self, old: pydicom.Dataset, tag: int, depth: int) -> tuple[DataElement | None, str]:
        """The element that takes the place of an old one (None: nothing does), and what was done."""
        if tag not in DicomDictionary or tag >> 16 in (0x0000, 0x0002):
            return None, "removed"  # curves and overlays end here too: their groups have no fixed tags
        action, rule = self.profile.action(tag, self.columns), self.rules.get(tag)
        if rule is not None and (rule.kind == "patient" or action in (None, "K", "C", "U", "X/Z/U*")):
            element, done = self.checked(old, rule, depth)
            if element is not None:
                return element, done
        if action == "U":
            return self.uid(old, tag)
        return self.basic(tag)

    def checked(self, old: pydicom.Dataset, rule: Rule, depth: int) -> tuple[DataElement | None, str]:
        """What the rule makes of the value; None when it does not pass."""
        if rule.kind == "patient":
            known = [self.pseudonyms.patient(self.patient)] if self.patient else None
            return fresh(rule.tag, "LO", known), "replaced"
        if rule.kind == "uid":
            return self.uid(old, rule.tag)
        element = read(old, rule.tag, rule.vrs)
        if element is None:
            return None, "removed"
        if rule.kind in ("date", "datetime"):
            return fresh(rule.tag, element.VR, self.dates(element.value)), "moved"
        if rule.kind in ("code", "items"):
            items = self.items(element, rule.kind, depth)
            return (DataElement(rule.tag, "SQ", items) if items else None), "cleaned"
        done = "cleaned" if rule.kind in ("words", "maker", "some terms") else "kept"
        return fresh(rule.tag, element.VR, clean(rule, element.value)), done

    def basic(self, tag: int) -> tuple[DataElement | None, str]:
        """What the Basic Profile does where nothing is kept; of its alternatives the one that leaves least."""
        vr = DicomDictionary[tag][0]
        action = (self.profile.action(tag, ()) or "X").partition("/")[0]
        if action == "Z":
            return DataElement(tag, vr.partition(" ")[0], [] if vr == "SQ" else None), "emptied"
        if action == "D" and vr in _DUMMIES:
            return DataElement(tag, vr, _DUMMIES[vr]), "filled"
        return None, "removed"

    def uid(self, old: pydicom.Dataset, tag: int) -> tuple[DataElement | None, str]:
        element = read(old, tag, ("UI",))
        texts = [str(value) for value in values_of(element.value)] if element is not None else []
        new = [self.pseudonyms.uid(text) for text in texts if text.strip(" \0")]
        return fresh(tag, "UI", new), "replaced" if new else "removed"

    def dates(self, value: Any) -> list[str] | None:
        if self.days is None:
            return None
        moved = [moved_date(item, self.days) for item in values_of(value)]
        return None if None in moved else [date for date in moved if date is not None]

    def items(self, element: DataElement, kind: str, depth: int) -> list[pydicom.Dataset]:
        if depth >= DEEPEST or len(element.value) > MOST_ITEMS:
            return []
        if kind == "code":
            return [item for item in (self.code(old, depth + 1) for old in element.value) if item is not None]
        items = [self.dataset(old, depth + 1) for old in element.value]
        return items if any(len(item) for item in items) else []

    def code(self, old: pydicom.Dataset, depth: int) -> pydicom.Dataset | None:
        """A code that we know, with the meaning that our table gives it; nested codes, its modifiers, alike."""
        scheme, value = word(old, "CodingSchemeDesignator"), word(old, "CodeValue")
        scheme = _OLD_SNOMED.get(scheme, scheme)
        meaning = codes().get((scheme, value))
        if meaning is None:
            return None
        new = pydicom.Dataset()
        new.CodeValue, new.CodingSchemeDesignator, new.CodeMeaning = value, scheme, meaning[:64]
        for tag in sorted(map(int, old.keys())):
            if tag in self.rules and self.rules[tag].kind == "code":
                element, _ = self.element(old, tag, depth)
                if element is not None:
                    new[tag] = element
        return new


def fresh(tag: int, vr: str, values: Iterable[Any] | None) -> DataElement | None:
    """A new element of checked values; None when there are none."""
    found = [f"{value:.6g}" if vr == "DS" else value for value in values or ()]
    return DataElement(tag, vr, found[0] if len(found) == 1 else found) if found else None


def read(old: pydicom.Dataset, tag: int, vrs: Iterable[str]) -> DataElement | None:
    """An element of a plausible size that can be read and has its standard VR; None for any other."""
    try:
        raw = old.get_item(tag)
        if isinstance(raw, RawDataElement) and raw.length != _UNKNOWN_LENGTH and raw.length > LONGEST:
            return None
        element = old[tag]
    except Exception:  # a damaged element may fail anywhere, with any exception; it stays behind
        return None
    return element if element.VR in vrs else None


def word(old: pydicom.Dataset, keyword: str) -> str:
    """The text of an element of one short value; empty for any other."""
    element = read(old, tag_for_keyword(keyword) or 0, ("SH", "LO"))
    values = values_of(element.value) if element is not None else []
    return values[0].strip(" \0") if len(values) == 1 and isinstance(values[0], str) else ""


def _name(tag: int) -> str:
    """A keyword for the report; the number of a tag that DICOM does not know could itself say something."""
    if (tag >> 16) % 2:
        return "private attribute"
    return keyword_for_tag(tag) or "unknown attribute"
