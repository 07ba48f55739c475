"""The tables that header de-identification follows, kept as data in `profiles/` and read once.

Words: the *profile* is Table E.1-1 of DICOM PS3.15, which says what must happen to an attribute under the Basic Profile
and under each of its options; a *rule* says how the value of an attribute of our own list is checked.
"""

import csv
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources

from pydicom.datadict import dictionary_VM, dictionary_VR, tag_for_keyword

from synthcohort.ingest.vocabulary import BODY_PARTS, MODALITIES, VIEWS

EDITION = "2026d"
BASIC = "basic"
OPTIONS = (
    "retain_safe_private", "retain_uids", "retain_device_identity", "retain_institution_identity",
    "retain_patient_characteristics", "retain_longitudinal_full_dates", "retain_longitudinal_modified_dates",
    "clean_descriptors", "clean_structured_content", "clean_graphics",
)  # fmt: skip
ACTIONS = ("D", "Z", "X", "K", "C", "U", "X/Z", "X/D", "X/Z/D", "Z/D", "X/Z/U*")
RULES = (
    "number", "integer", "terms", "some terms", "words", "maker", "date", "datetime", "age", "class uid", "uid", "code",
    "items", "patient",
)  # fmt: skip
_LISTS = {"@modalities": MODALITIES, "@body parts": BODY_PARTS, "@views": VIEWS}
_MOST_VALUES, _MOST_NUMBERS = 16, 4  # where the standard sets no limit: a long list of numbers can spell anything
_RANGE = re.compile(r"(-?[\d.]+)\.\.(-?[\d.]+)(?: by ([\d.]+))?")


@dataclass(frozen=True)
class Rule:
    """How the value of one attribute is checked. Limits are inclusive; `step` 0 rounds to 6 digits."""

    keyword: str
    tag: int
    kind: str
    vrs: tuple[str, ...]
    fewest: int
    most: int
    terms: frozenset[str] = frozenset()
    low: float = 0.0
    high: float = 0.0
    step: float = 0.0


@dataclass(frozen=True)
class Profile:
    """Table E.1-1: action codes by column, for each attribute and for each pattern of attributes."""

    rows: Mapping[int, Mapping[str, str]]
    patterns: Sequence[tuple[re.Pattern[str], Mapping[str, str]]]
    private: Mapping[str, str]

    def actions(self, tag: int) -> Mapping[str, str] | None:
        """The row of an attribute; None when the table does not name it."""
        if tag in self.rows:
            return self.rows[tag]
        if (tag >> 16) % 2:
            return self.private
        name = f"{tag:08X}"
        return next((row for pattern, row in self.patterns if pattern.fullmatch(name)), None)

    def action(self, tag: int, options: Sequence[str]) -> str | None:
        """What is to be done: an option's action goes before the Basic Profile's, and cleaning before keeping."""
        row = self.actions(tag)
        if row is None:
            return None
        chosen = {row[option] for option in options if row[option]}
        return "C" if "C" in chosen else "K" if "K" in chosen else row[BASIC]


def _lines(name: str) -> Iterator[str]:
    text = resources.files("synthcohort").joinpath("ingest", "profiles", name).read_text(encoding="utf-8")
    return (line for line in text.splitlines() if line and not line.startswith("#"))


@cache
def profile() -> Profile:
    rows: dict[int, Mapping[str, str]] = {}
    patterns, private = [], {}
    for line in csv.DictReader(_lines("ps3_15_table_e1_1.csv")):
        actions = {column: line[column] for column in (BASIC, *OPTIONS)}
        if line["tag"] == "PRIVATE":
            private = actions
        elif "x" in line["tag"]:
            patterns.append((re.compile(line["tag"].replace("x", "[0-9A-F]")), actions))
        else:
            rows[int(line["tag"], 16)] = actions
    return Profile(rows, tuple(patterns), private)


@cache
def rules() -> Mapping[int, Rule]:
    """Our list of attributes, by tag."""
    found = (_rule(**line) for line in csv.DictReader(_lines("header_attributes.csv")))
    return {rule.tag: rule for rule in found}


def _rule(keyword: str, rule: str, allowed: str) -> Rule:
    tag = tag_for_keyword(keyword)
    assert tag is not None, keyword
    few, _, many = dictionary_VM(tag).partition("-")
    open_end = _MOST_NUMBERS if rule in ("number", "integer") else _MOST_VALUES
    most = int(many or few) if (many or few).isdigit() else open_end
    vrs = tuple(dictionary_VR(tag).split(" or "))
    terms: frozenset[str] = frozenset()
    low = high = step = 0.0
    if rule.endswith("terms"):
        terms = _LISTS[allowed] if allowed in _LISTS else frozenset(allowed.split("|"))
    elif allowed:
        match = _RANGE.fullmatch(allowed)
        assert match is not None, keyword
        low, high, step = float(match[1]), float(match[2]), float(match[3] or 0)
    return Rule(keyword, tag, rule, vrs, int(few), most, terms, low, high, step)


@cache
def codes() -> Mapping[tuple[str, str], str]:
    """Meanings by coding scheme designator and code value."""
    return {(line["scheme"], line["value"]): line["meaning"] for line in csv.DictReader(_lines("codes.csv"))}


@cache
def words() -> frozenset[str]:
    return frozenset(" ".join(_lines("radiology_words.txt")).split())
