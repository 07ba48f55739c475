"""Words that clinicians wrote: lists of terms in a cell, and captions, as far as enough patients share them.

A *term* is a part of a cell between separators, as in `Cardiomegaly|Effusion`. A term or a caption may enter a cohort
when several patients share it and nothing in it looks like a person, a date or an identifier. Where patients are known
by ids, words in lower case may be any; elsewhere ten slices of one patient look like ten patients, and only words of
the lists enter. Everywhere below, a group that is a str is a patient known by an id; any other is images of somebody.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Collection, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from synthcohort.ingest.class_words import all_known, is_lower_case

Row = Mapping[str, str]
SEPARATORS = ("|｜", ";；", ",，、")  # in this order: a cell that has | may hold commas within its terms
ENOUGH_PATIENTS = 5  # that share a term or caption
INDICATOR_PATIENTS, INDICATOR_SHARE, MOST_INDICATORS = 20, 0.01, 20
_LEAST_SEPARATED, _LEAST_COVERED, _MOST_TERMS = 0.02, 0.8, 200
_LONGEST_TERM, _MOST_WORDS, _LONGEST_CAPTION = 60, 8, 300
_MISSING = frozenset(
    ("", "na", "n/a", "nan", "null", "none given", "-", "--", "?", "not available", "missing", "unknown", "unk",
     "not known", "not reported", "unspecified", "not specified", "<na>", "n.a.", "#n/a")
)  # fmt: skip
_LOOKS_IDENTIFYING = re.compile(
    r"\d{6,}|@|\b\d{1,4}[-/.]\d{1,2}[-/.]\d{1,4}\b|\d+\.\d+\.\d+|\w\^\w"
    r"|\b(?:Dr|Prof|Mr|Mrs|Ms|Herr|Frau|Mme)\b[.\s]+[A-Z]|\b(?:signed|dictated|reported|read) by\b"
)
# What stands where an id of a patient should: letters and digits only, in lower case.
_NO_ID = frozenset(
    (
        "anonymous", "anonymized", "anonymised", "anonymisiert", "anonym", "anon", "anonpatient",
        "anonymouspatient", "anonyme", "anonimo", "anonimizado", "anonimizzato", "anonymise", "deidentified",
        "deid", "pseudonymized", "unknown", "unbekannt", "inconnu", "desconocido", "sconosciuto", "unnamed",
        "noname", "nameless", "none", "noid", "nopatient", "nopatientid", "nil", "null", "nan", "na", "nn",
        "notavailable", "notapplicable", "missing", "empty", "blank", "test", "testpatient", "patient",
        "patientid", "dummy", "demo", "sample", "example", "default", "xx", "xxx", "xxxx", "xxxxx", "xxxxxx",
        "removed", "deleted", "redacted", "hidden", "masked", "stripped", "cleared", "confidential",
        "geloescht", "geloscht", "entfernt", "supprime", "eliminado", "rimosso",
    )
)  # fmt: skip


def is_missing(value: str) -> bool:
    return value.strip().casefold() in _MISSING


def is_placeholder_id(value: str) -> bool:
    """Whether what stands for a patient's id is a word that names nobody, such as ANONYMOUS, REMOVED or 000.

    In a table, where 0 may be a patient as good as 1, ask `placeholder_ids`.
    """
    plain = re.sub(r"[\W_]+", "", value).casefold()
    return is_missing(value) or not plain or plain in _NO_ID or set(plain) == {"0"}


def placeholder_ids(ids: Iterable[str]) -> frozenset[str]:
    """Of all ids of a column, one per image, those that name nobody.

    0 is an id where other numbers stand beside it, unless it stands for far more images than any of them.
    """
    counts = Counter(ids)
    words = {value for value in counts if is_placeholder_id(value)}
    most = max((count for value, count in counts.items() if value not in words), default=0)
    zeros = {value for value in words if value.strip().strip("0") == "" and value.strip()}
    return frozenset(words - {value for value in zeros if counts[value] <= 2 * most or len(counts) == counts.total()})


def known_patients(groups: Iterable[Hashable]) -> set[Hashable]:
    """The groups that are patients known by ids."""
    return {group for group in groups if isinstance(group, str)}


def _may_enter(text: str, holders: Collection[Hashable]) -> bool:
    """Whether the words of a text are no names, as far as lists and known patients can tell."""
    return all_known(text) or (is_lower_case(text) and len(known_patients(holders)) >= ENOUGH_PATIENTS)


def looks_identifying(value: str) -> bool:
    """Whether a text holds a long number, a date, an address, a UID, or a person with a title."""
    return _LOOKS_IDENTIFYING.search(value) is not None


@dataclass(frozen=True)
class Terms:
    """A column whose cells hold several terms. `common` are those that enough patients share, most frequent first."""

    column: str
    separators: str
    common: tuple[str, ...]
    frequent: tuple[str, ...]  # of the common ones, those that are worth a label each

    def split(self, value: str) -> list[str]:
        return split_terms(value, self.separators)


def split_terms(value: str, separators: str) -> list[str]:
    """The terms of a cell, each once, in the order they stand there."""
    parts = (re.sub(r"\s+", " ", part).strip() for part in re.split(f"[{re.escape(separators)}]", value))
    return list(dict.fromkeys(part for part in parts if not is_missing(part)))


def find_terms(
    column: str, rows: Sequence[Row | None], groups: Sequence[Hashable], asked: bool = False
) -> Terms | None:
    """The terms of a column; None when its cells are no lists of terms. `asked`: the settings name the column.

    `rows` and `groups` have one entry per image; the groups are patients, or whatever stands for them.
    """
    values = [row.get(column, "") if row else "" for row in rows]
    given = Counter(value for value in values if not is_missing(value))
    separators = next((s for s in SEPARATORS if _separated(given, s)), "")
    if not separators:
        return None
    cut = {value: split_terms(value, separators) for value in given}
    holders: dict[str, set[Hashable]] = defaultdict(set)
    images: Counter[str] = Counter()
    for value, group in zip(values, groups, strict=True):
        for term in cut.get(value, ()):
            holders[term].add(group)
            images[term] += 1
    common = [term for term, _ in sorted(images.items(), key=lambda pair: (-pair[1], pair[0])) if _is_term(term)]
    common = [
        term for term in common if len(holders[term]) >= ENOUGH_PATIENTS and (asked or _may_enter(term, holders[term]))
    ]
    if not 2 <= len(common) <= _MOST_TERMS or sum(images[t] for t in common) < _LEAST_COVERED * images.total():
        return None
    frequent = [
        term
        for term in common
        if len(holders[term]) >= INDICATOR_PATIENTS and images[term] >= INDICATOR_SHARE * given.total()
    ]
    return Terms(column, separators, tuple(common), tuple(frequent[:MOST_INDICATORS]))


def _separated(given: Counter[str], separators: str) -> bool:
    """Whether a good part of the cells is cut by these separators, and none of those is a sentence."""
    cut = [value for value in given if len(split_terms(value, separators)) > 1]
    if any(value.rstrip().endswith((".", "!", "?", "。")) for value in cut):
        return False
    return sum(given[value] for value in cut) >= max(2, _LEAST_SEPARATED * given.total())


def _is_term(term: str) -> bool:
    words = term.split()
    return (
        len(term) <= _LONGEST_TERM
        and len(words) <= _MOST_WORDS
        and any(letter.isalpha() for letter in term)
        and not looks_identifying(term)
    )


@dataclass(frozen=True)
class OwnWords:
    """A column whose words may be kept as captions: whole values, or with `separators` its terms; others stay out."""

    column: str
    separators: str
    kept: frozenset[str]

    def text(self, value: str) -> str | None:
        """What enters the cohort; None when nothing may."""
        if not self.separators:
            return _caption(value) if _caption(value) in self.kept else None
        return ", ".join(term for term in split_terms(value, self.separators) if term in self.kept) or None

    def said(self, rows: Sequence[Row | None]) -> list[str]:
        """How many captions lost words, in a sentence."""
        values = [row[self.column] for row in rows if row and not is_missing(row[self.column])]
        if self.separators:
            lost = sum(any(term not in self.kept for term in split_terms(value, self.separators)) for value in values)
        else:
            lost = sum(self.text(value) is None for value in values)
        shared = f"words that fewer than {ENOUGH_PATIENTS} patients share, or that may be names,"
        return [f"{self.column}: {shared} were left out of {lost} captions"] if lost else []


def shared_captions(column: str, rows: Sequence[Row | None], groups: Sequence[Hashable]) -> OwnWords | None:
    """The captions that enough patients share, when nearly all are shared; None when they are free text.

    Each word of a kept caption must stand in another kept caption too, and be known or vouched for by known patients: a
    report that is repeated for all slices of one patient without an id would otherwise pass, with the name in it.
    """
    holders: dict[str, set[Hashable]] = defaultdict(set)
    images: Counter[str] = Counter()
    for row, group in zip(rows, groups, strict=True):
        value = _caption(row.get(column, "")) if row else ""
        if not is_missing(value):
            holders[value].add(group)
            images[value] += 1
    kept = {
        value
        for value, own in holders.items()
        if len(own) >= ENOUGH_PATIENTS
        and len(value) <= _LONGEST_CAPTION
        and not looks_identifying(value)
        and _may_enter(value, own)
    }
    in_captions = Counter(word for value in kept for word in set(_words(value)))
    kept = {value for value in kept if all(in_captions[word] > 1 for word in _words(value))}
    if sum(images[value] for value in kept) < _LEAST_COVERED * images.total() or not kept:
        return None
    return OwnWords(column, "", frozenset(kept))


def own_words(
    caption: str | None, others: Sequence[str], rows: Sequence[Row | None], groups: Sequence[Hashable]
) -> OwnWords | None:
    """Where the clinicians' own words are: in the `caption` column, else in the first of `others` that lists terms."""
    if caption:
        shared = shared_captions(caption, rows, groups)
        terms = None if shared else find_terms(caption, rows, groups)
        return shared or (OwnWords(caption, terms.separators, frozenset(terms.common)) if terms else None)
    for column in others:
        terms = find_terms(column, rows, groups)
        if terms:
            return OwnWords(column, terms.separators, frozenset(terms.common))
    return None


def _caption(value: str) -> str:
    return re.sub(r"\s+", " ", value).strip()


def _words(value: str) -> list[str]:
    return re.findall(r"[^\W\d_]{2,}", value.casefold())
