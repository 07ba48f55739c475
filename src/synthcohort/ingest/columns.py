"""Which column means what: by its name, by what the settings say, and, for labels, by the words it holds.

A column enters as a label by itself when its values are grades or words of the lists of classes, or when it is called
like a label and words in lower case are shared by patients who are told apart. Any other that may be one is proposed.
"""

import json
import re
import shlex
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

from synthcohort.core.cohort import STANDARD_COLUMNS, LabelColumn
from synthcohort.core.errors import ConfigError, Problem
from synthcohort.ingest.class_words import class_words_of, is_class_value, is_lower_case
from synthcohort.ingest.config import Columns, IngestConfig
from synthcohort.ingest.deidentify import parse_age, parse_laterality, parse_sex
from synthcohort.ingest.table import FileIndex, Table, is_known_name
from synthcohort.ingest.terms import (
    Terms,
    find_terms,
    is_missing,
    known_patients,
    looks_identifying,
    own_words,
    split_terms,
)
from synthcohort.ingest.vocabulary import (
    COLUMN_NAMES,
    DOUBTFUL_IDS,
    IDENTIFYING,
    IDENTIFYING_PARTS,
    LABEL_WORDS,
    NAMED_THINGS,
)

__all__ = [
    "Label", "Mapped", "find_labels", "is_missing", "label_name", "main_label", "map_columns", "names_label",
    "names_somebody", "own_words", "plain_name",
]  # fmt: skip

MAIN_LABEL_WORDS = (
    "label", "class", "diagnosis", "dx", "grade", "finding", "target", "category", "severity", "stage", "diagnose",
    "befund", "klasse", "grad", "stadium", "kategorie", "diagnostic", "diagnostico", "diagnosi", "hallazgo", "reperto",
    "birads", "gleason", "score",
)  # fmt: skip
_PARSED: dict[str, Callable[[Any], Any]] = {"sex": parse_sex, "age": parse_age, "laterality": parse_laterality}
LEAST_IDS, LEAST_CAPTION_WORDS = 5, 4
FEW_VALUES, COMMON_AMONG_FEW, COMMON_AMONG_MANY, MOST_VALUES, LONGEST_VALUE = 20, 2, 5, 200, 100
MOST_PROPOSED = 5
LOOKS_LIKE_A_LABEL = "it looks like a label, but its words are no known classes; name it in ingest.labels to take it"
_OF_PEOPLE = ("patient", "pacient", "pazient", "subject", "proband")


@dataclass(frozen=True)
class Mapped:
    """What a table's columns were taken for: known ones by role, and why others do not enter the cohort."""

    known: Mapping[str, str] = field(default_factory=dict)  # role -> column
    rest: tuple[str, ...] = ()  # possible labels


def plain_name(column: str) -> str:
    """A column's name without case, spaces and punctuation."""
    return re.sub(r"[\W_]+", "", column).casefold()


def map_columns(table: Table, asked: Columns, index: FileIndex) -> Mapped:
    """Takes the settings' word, then names. Raises ConfigError with the columns there are when one is not there."""
    problems = []
    known: dict[str, str] = {}
    there = ", ".join(table.columns) if any(map(is_known_name, table.columns)) else ""  # else they may be values
    for role in (item.name for item in fields(asked)):
        column = getattr(asked, role)
        if column and column != "-":
            if column not in table.columns:
                thing = f"setting ingest.columns.{role}"
                problems.append(Problem(thing, f"no column {column!r} in {table.name}", there))
            known[role] = column
    if problems:
        raise ConfigError(*problems)
    for role, names in COLUMN_NAMES.items():
        if role in known or getattr(asked, role) == "-":
            continue
        free = [column for column in table.columns if column not in known.values()]
        if role == "file":
            column = _file_column(table, free, index)
        else:
            order = {name: i for i, name in enumerate(names)}
            fitting = [column for column in free if plain_name(column) in order and _fits(role, column, table)]
            column = min(fitting, key=lambda c: order[plain_name(c)], default="")
        if column:
            known[role] = column
    return Mapped(known, tuple(column for column in table.columns if column not in known.values()))


def _sample(table: Table) -> Sequence[Mapping[str, str]]:
    return table.rows[:: max(1, len(table.rows) // 500)]


def _file_column(table: Table, free: Sequence[str], index: FileIndex) -> str:
    """The column whose values are files that exist; by name where several are."""
    sample = _sample(table)
    scored = []
    for position, column in enumerate(free):
        hits = sum(bool(index.find(row[column])) for row in sample)
        named = plain_name(column) in COLUMN_NAMES["file"]
        # grades 0 to 4 are no names, even where files are called 0.png to 4.png
        apart = len({row[column] for row in sample}) * 2 > len(sample)
        if hits and (named or (apart and hits * 2 >= len(sample))):
            scored.append((named, hits, -position, column))
    return max(scored)[3] if scored else ""


def _fits(role: str, column: str, table: Table) -> bool:
    """Whether a column that has the right name has values of the right sort, as far as that can be told.

    A column `group` may hold the arms of a trial and `side` the sick one: such are labels and no ids or sides.
    """
    values = [row[column] for row in _sample(table) if not is_missing(row[column])]
    if not values:
        return True
    if role in _PARSED:
        return 2 * sum(_PARSED[role](value) is not None for value in values) >= len(values)
    if role == "caption":
        return 2 * sum(len(value.split()) >= LEAST_CAPTION_WORDS for value in values) >= len(values)
    if role in ("patient_id", "group_id") and plain_name(column) in DOUBTFUL_IDS:
        distinct = {row[column] for row in table.rows if not is_missing(row[column])}
        numbered = all(any(letter.isdigit() for letter in value) for value in distinct)
        if role == "patient_id" and numbered and not all(value.isdigit() and len(value) == 1 for value in distinct):
            return True  # the few cases of a small study must never become a label
        return len(distinct) > FEW_VALUES or (numbered and len(distinct) >= LEAST_IDS)
    return True


def label_name(column: str) -> str:
    """A label's name as it stands in the cohort: lower case, words joined by `_`."""
    return re.sub(r"\W+", "_", column).strip("_").lower()


@dataclass(frozen=True)
class Label:
    """A label column of the table and what it becomes."""

    column: str
    label: LabelColumn
    rare: frozenset[str] = frozenset()  # values set to missing: too few share them, or they say that nobody is sure
    term: str = ""  # 1 where a cell lists this term, and 0 where it lists others
    separators: str = ""

    def parse(self, value: str) -> Any:
        """The value as it enters the record; None when missing or rare."""
        if is_missing(value) or value in self.rare:
            return None
        if self.term:
            return int(self.term in split_terms(value, self.separators))
        if self.label.kind == "ordinal":
            return int(float(value))
        return float(value) if self.label.kind == "continuous" else value


def find_labels(
    columns: Sequence[str],
    rows: Sequence[Mapping[str, str] | None],
    groups: Sequence[Hashable],
    config: IngestConfig,
    decided: Collection[str] = (),
) -> tuple[list[Label], dict[str, str], list[str]]:
    """Label columns, columns that stay behind with the reason, and notes, of which one proposes labels.

    `rows` and `groups` have one entry per image. A group that is a str is a patient whose id is known; any other
    stands for images that may be anybody's, and counts for no second patient. `decided`: columns that a person chose
    by another setting than `ingest.labels`, as ingest.folders=label does. A value that one patient alone has could
    tell who it is, and free text certainly could, so that both stay out unless the settings name the column.
    """
    labels: list[Label] = []
    dropped: dict[str, str] = {}
    notes: list[str] = []
    for column in columns:
        asked = column in config.labels or label_name(column) in config.labels
        asked = asked or (not config.labels and column in decided)
        named = names_somebody(column)
        terms = find_terms(column, rows, groups, asked) if asked or not named else None
        indicators = _indicators(terms, {label.label.name for label in labels}) if terms else []
        if config.labels:
            indicators = [label for label in indicators if label.label.name in config.labels]
        if config.labels and not asked:
            outcome: Label | str = "not among ingest.labels"
        elif named and not asked:
            outcome = "its name says that it may identify somebody"
        else:
            outcome = _judge(column, rows, groups, asked)
        if isinstance(outcome, Label) and outcome.label.name in {label.label.name for label in labels}:
            outcome = "another column has this name"
        if isinstance(outcome, Label):
            labels.append(outcome)
            notes += _noted(outcome, rows)
        elif not indicators:
            dropped[column] = outcome
        labels += indicators
    absent = [name for name in config.labels if name not in {x.column for x in labels} | {x.label.name for x in labels}]
    if absent:
        allowed = ", ".join(columns) or "none: there is no table"
        raise ConfigError(*(Problem("setting ingest.labels", f"no usable column {name!r}", allowed) for name in absent))
    proposed = [column for column, reason in dropped.items() if reason == LOOKS_LIKE_A_LABEL]
    return labels, dropped, notes + _proposal(proposed, labels)


def _proposal(columns: Sequence[str], labels: Sequence[Label]) -> list[str]:
    """One line that says how the columns could be taken beside the labels there are; never a value."""
    if not columns:
        return []
    first = columns[:MOST_PROPOSED]
    wanted = json.dumps(list(dict.fromkeys([*(x.label.name for x in labels), *first])), ensure_ascii=False)
    more = f" and {len(columns) - len(first)} more" if len(columns) > len(first) else ""
    names = ", ".join(first) + more
    looks, them = ("looks like a label", "it") if len(columns) == 1 else ("look like labels", "them")
    column = "column" if len(columns) == 1 else "columns"
    return [f"{column} {names} {looks}; to take {them}: --set ingest.labels={shlex.quote(wanted)}"]


def names_somebody(column: str) -> bool:
    """Whether a column's name says that its values may tell who somebody is."""
    words = class_words_of(column)
    whole = "".join(words)
    if whole.removesuffix("names").removesuffix("name") in NAMED_THINGS:
        return False  # class name, finding_name
    parts = {part for part in IDENTIFYING_PARTS if part in whole}
    if set(words) & LABEL_WORDS:
        parts -= set(_OF_PEOPLE)  # patient group, patient_outcome
    return bool(parts or set(words) & IDENTIFYING or whole.endswith("name"))


def names_label(column: str) -> bool:
    """Whether a column is called as labels are: Befund, dx_type, KL grade, TNM."""
    words = class_words_of(column)
    return bool(set(words) & LABEL_WORDS) or "".join(words) in LABEL_WORDS


def _indicators(terms: Terms, taken: set[str]) -> list[Label]:
    """A label of 0 and 1 for each frequent term; the column's name goes before a term's that is taken already."""
    labels: list[Label] = []
    for term in terms.frequent:
        name = label_name(term)
        if name in STANDARD_COLUMNS or name in taken or name == label_name(terms.column):
            name = f"{label_name(terms.column)}_{name}"
        if name and name not in taken:
            taken = taken | {name}
            labels.append(
                Label(terms.column, LabelColumn(name, "ordinal", (0, 1)), term=term, separators=terms.separators)
            )
    return labels


def _noted(label: Label, rows: Sequence[Mapping[str, str] | None]) -> list[str]:
    """What was set to missing, for the owner to know."""
    if not label.rare:
        return []
    name = label.label.name
    if label.label.kind == "ordinal":
        unsure = sum(row is not None and row[label.column] in label.rare for row in rows)
        return [f"{name}: {unsure} images marked -1 (uncertain) were set to missing"]
    few = len(label.label.values) + len(label.rare) <= FEW_VALUES
    least = COMMON_AMONG_FEW if few else COMMON_AMONG_MANY
    return [f"{name}: {len(label.rare)} values that fewer than {least} patients share were set to missing"]


def _judge(
    column: str, rows: Sequence[Mapping[str, str] | None], groups: Sequence[Hashable], asked: bool
) -> Label | str:
    """A label, or the reason why the column is none."""
    name = label_name(column)
    if name in STANDARD_COLUMNS or not name:
        return "its name means something else in a cohort"
    holders: dict[str, set[Hashable]] = defaultdict(set)
    counts: Counter[str] = Counter()
    for row, group in zip(rows, groups, strict=True):
        value = row[column] if row else ""
        if not is_missing(value):
            holders[value].add(group)
            counts[value] += 1
    values = sorted(holders)
    if len(values) < 2:
        return "it has the same value everywhere" if values else "it is empty"
    numbers = _numbers(values)
    whole = bool(numbers) and all(n.is_integer() for n in numbers)
    if whole and min(numbers) in (0, 1) and max(numbers) <= FEW_VALUES:
        if not asked and not names_label(column) and _one_each(holders):
            return "nearly every patient has a number of its own; name it in ingest.labels to keep it"
        return Label(column, LabelColumn(name, "ordinal", tuple(sorted({int(n) for n in numbers}))))
    if whole and {-1.0} < set(numbers) <= {-1.0, 0.0, 1.0}:
        unsure = frozenset(value for value in values if float(value) == -1)
        return Label(column, LabelColumn(name, "ordinal", tuple(sorted({int(n) for n in numbers} - {-1}))), unsure)
    if numbers:
        if asked:
            return Label(column, LabelColumn(name, "continuous"))
        return "it is a measurement or a number that may identify; name it in ingest.labels to keep it"
    if asked:
        return Label(column, LabelColumn(name, "nominal", tuple(values)))
    few = len(values) <= FEW_VALUES
    least = COMMON_AMONG_FEW if few else COMMON_AMONG_MANY
    common = [value for value in values if len(holders[value]) >= least]
    if any(len(value) > LONGEST_VALUE or looks_identifying(value) for value in (values if few else common)):
        return "its values look like free text, dates or identifiers"
    covered = sum(counts[value] for value in common) / counts.total()
    if len(common) < 2 or len(common) > MOST_VALUES or (len(common) * 2 < len(values) if few else covered < 0.8):
        return "too many of its values belong to few patients, as in free text"
    if not all(_may_enter(value, column, holders[value]) for value in common):
        return LOOKS_LIKE_A_LABEL
    rare = frozenset(values) - frozenset(common)
    kept = tuple(value for value in values if value not in rare)
    return Label(column, LabelColumn(name, "nominal", kept), rare)


def _may_enter(value: str, column: str, holders: Collection[Hashable]) -> bool:
    """Whether a value enters by itself: a class of the lists, or one that a label's name and known patients vouch for.

    Words that begin with a capital may be names and enter only when a person says so.
    """
    named = names_label(column)
    if is_class_value(value, codes=named):
        return True
    return named and is_lower_case(value) and len(known_patients(holders)) >= COMMON_AMONG_MANY


def _one_each(holders: Mapping[str, Collection[Hashable]]) -> bool:
    """Whether most values have one holder only, as the numbers of records do."""
    return len(holders) > 2 and 2 * sum(len(own) == 1 for own in holders.values()) > len(holders)


def _numbers(values: Sequence[str]) -> list[float]:
    """The values as numbers when all are."""
    try:
        return [float(value) for value in values]
    except ValueError:
        return []


def main_label(labels: Sequence[Label], asked: str) -> Label | None:
    """The label that stratifies the split: the one asked for, or the likeliest by its name, or the first."""
    if asked:
        for label in labels:
            if asked in (label.column, label.label.name):
                return label
        names = ", ".join(label.label.name for label in labels) or "none was found"
        raise ConfigError(Problem("setting ingest.label", f"no label {asked!r}", names))

    def rank(item: tuple[int, Label]) -> tuple[int, int, int]:
        position, label = item
        name = label.label.name
        if label.term:
            return len(MAIN_LABEL_WORDS) + 1, 0, position
        for order, word in enumerate(MAIN_LABEL_WORDS):
            if name == word or word in name.split("_"):
                return order, int(name != word), position
        return len(MAIN_LABEL_WORDS), 0, position

    return min(enumerate(labels), key=rank)[1] if labels else None
