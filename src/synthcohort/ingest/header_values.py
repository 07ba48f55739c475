"""Checks of single header values: each gives a fresh value made of what is allowed, or None.

Nothing here hands on a value of the file itself: numbers are written anew, words and terms are those of our lists.
"""

import datetime
import math
import re
from collections.abc import Callable, Sequence
from typing import Any

from pydicom.uid import UID, UID_dictionary

from synthcohort.ingest.deidentify import OLDEST_AGE, manufacturer
from synthcohort.ingest.header_tables import Rule, words

OLDEST_YEAR = 1850
_CS = re.compile(r"[A-Z0-9 _]{1,16}")  # DICOM PS3.5 6.2
_LONGEST = 64  # characters of an LO, the longest of our kinds of text


def values_of(value: Any) -> list[Any]:
    """A value of any multiplicity as a list, without empty ones."""
    if value is None or isinstance(value, (bytes, bytearray)):
        return []
    many = isinstance(value, Sequence) and not isinstance(value, str)
    return [item for item in (value if many else [value]) if item is not None and item != ""]


def clean(rule: Rule, value: Any) -> list[Any] | None:
    """The checked values of one element; None when anything about it is not as it must be."""
    values = values_of(value)
    if not rule.fewest <= len(values) <= rule.most:
        return None
    kept = [_KINDS[rule.kind](rule, item) for item in values]
    if rule.kind == "some terms":
        return [item for item in kept if item is not None] or None
    return None if None in kept else kept


def _text(value: Any) -> str:
    return value.strip(" \0") if isinstance(value, str) else ""


def _number(rule: Rule, value: Any) -> float | None:
    if isinstance(value, (str, bool)):
        return None
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    if not math.isfinite(number) or not rule.low <= number <= rule.high:
        return None
    if rule.step:
        number = round(number / rule.step) * rule.step
    return float(f"{number:.6g}") + 0.0  # no negative zero, which two ways of writing would give two forms


def _integer(rule: Rule, value: Any) -> int | None:
    number = _number(rule, value)
    return int(number) if number is not None and number.is_integer() and number == value else None


def _term(rule: Rule, value: Any) -> str | None:
    text = _text(value)
    if "CS" in rule.vrs and not _CS.fullmatch(text):
        return None
    # SH and LO are free in their case, CS is not.
    return text.upper() if text.upper() in rule.terms else None


def _words(rule: Rule, value: Any) -> str | None:
    """What our list knows of a text, in its order and in its own case of letters."""
    found = [word.upper() for word in re.findall(r"[A-Za-z0-9]+", _text(value)[:1000]) if word.upper() in words()]
    text = " ".join(found)
    most = 16 if "SH" in rule.vrs else _LONGEST
    if len(text) > most:
        text = text[: most + 1].rpartition(" ")[0]
    return text or None


def _maker(rule: Rule, value: Any) -> str | None:
    name = manufacturer(_text(value)[:1000])
    return None if name == "other" else name


def _class_uid(rule: Rule, value: Any) -> str | None:
    text = _text(value)
    return text if text in UID_dictionary and UID(text).type in ("SOP Class", "Meta SOP Class") else None


def _age(rule: Rule, value: Any) -> str | None:
    """An age string; above 89 years it is 090Y (45 CFR 164.514(b)(2)(i)(C))."""
    match = re.fullmatch(r"([0-9]{3})([YMWD])", _text(value))
    if not match or (match[2] == "Y" and int(match[1]) > 130):
        return None
    return age_string(float(match[1])) if match[2] == "Y" else match[0]


def age_string(years: float) -> str:
    return f"{int(min(years, OLDEST_AGE)):03d}Y"


def parse_date(value: Any) -> datetime.date | None:
    """The date of a DA or DT value; None when it is not one, or no date of a study."""
    text = value.strftime("%Y%m%d") if isinstance(value, datetime.date) else _text(value)
    if not re.fullmatch(r"[0-9]{8}(?:[0-9.]{0,13}(?:[+-][0-9]{4})?)?", text):
        return None
    try:
        date = datetime.date(int(text[:4]), int(text[4:6]), int(text[6:8]))
    except ValueError:
        return None
    return date if date.year >= OLDEST_YEAR else None


def moved_date(value: Any, days: int) -> str | None:
    """A date so many days later, as a DA value, which is a DT value as well; the time of the day is not kept."""
    date = parse_date(value)
    if date is None:
        return None
    try:
        return (date + datetime.timedelta(days)).strftime("%Y%m%d")
    except OverflowError:
        return None


_KINDS: dict[str, Callable[[Rule, Any], Any]] = {
    "number": _number, "integer": _integer, "terms": _term, "some terms": _term, "words": _words, "maker": _maker,
    "class uid": _class_uid, "age": _age,
}  # fmt: skip
