"""Which column means what: by its name, by what the settings say, and, for labels, by how few values it has."""

import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

from synthcohort.core.cohort import STANDARD_COLUMNS, LabelColumn
from synthcohort.core.errors import ConfigError, Problem
from synthcohort.ingest.config import Columns, IngestConfig
from synthcohort.ingest.table import FileIndex, Table
from synthcohort.ingest.vocabulary import IDENTIFYING

# Names as they occur in the world, without case, spaces and punctuation.
NAMES: dict[str, tuple[str, ...]] = {
    "file": (
        "file", "filename", "filepath", "path", "image", "imagename", "imagefile", "imagefilename", "imagepath",
        "imageid", "img", "imgname", "imgpath", "imageindex", "dicompath", "dicomfile", "relativepath",
    ),
    "sop_instance_uid": ("sopinstanceuid", "sopuid", "instanceuid", "imageuid"),
    "patient_id": (
        "patientid", "patient", "patientnumber", "subjectid", "subject", "caseid", "case", "participantid", "pid",
    ),
    "group_id": (
        "groupid", "group", "lesionid", "lesion", "smearid", "smear", "slideid", "slide", "specimenid", "specimen",
        "sampleid", "blockid",
    ),
    "split": ("split", "subset", "partition", "datasetsplit", "set"),
    "sex": ("sex", "gender", "patientsex", "patientgender"),
    "age": ("age", "patientage", "ageyears", "ageatscan", "ageapprox"),
    "laterality": ("laterality", "eye", "side", "imagelaterality"),
    "site": ("site", "siteid", "center", "centre", "hospital", "institution"),
    "modality": ("modality",),
    "body_part": ("bodypart", "bodypartexamined"),
    "view": ("view", "viewposition", "projection"),
    "ethnicity": ("ethnicity", "race"),
    "caption": ("caption", "captions", "report", "impression", "text", "description"),
}  # fmt: skip
_MISSING = frozenset(("", "na", "n/a", "nan", "null", "none given", "-", "--", "?", "not available", "missing"))
_LOOKS_IDENTIFYING = re.compile(r"\d{6,}|@|\b\d{1,4}[-/.]\d{1,2}[-/.]\d{1,4}\b|\d+\.\d+\.\d+")
MAIN_LABEL_WORDS = ("label", "class", "diagnosis", "dx", "grade", "finding", "target", "category", "severity", "stage")
FEW_VALUES, COMMON_AMONG_FEW, COMMON_AMONG_MANY, MOST_VALUES, LONGEST_VALUE = 20, 2, 5, 200, 100


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
    for role in (item.name for item in fields(asked)):
        column = getattr(asked, role)
        if column and column != "-":
            if column not in table.columns:
                thing = f"setting ingest.columns.{role}"
                problems.append(Problem(thing, f"no column {column!r} in {table.name}", ", ".join(table.columns)))
            known[role] = column
    if problems:
        raise ConfigError(*problems)
    for role, names in NAMES.items():
        if role in known or getattr(asked, role) == "-":
            continue
        free = [column for column in table.columns if column not in known.values()]
        if role == "file":
            column = _file_column(table, free, index)
        else:
            order = {name: i for i, name in enumerate(names)}
            fitting = [column for column in free if plain_name(column) in order]
            column = min(fitting, key=lambda c: order[plain_name(c)], default="")
        if column:
            known[role] = column
    return Mapped(known, tuple(column for column in table.columns if column not in known.values()))


def _file_column(table: Table, free: Sequence[str], index: FileIndex) -> str:
    """The column whose values are files that exist; by name where several are."""
    sample = table.rows[:: max(1, len(table.rows) // 500)]
    scored = []
    for position, column in enumerate(free):
        hits = sum(len(index.find(row[column])) == 1 or bool(index.find(row[column])) for row in sample)
        named = plain_name(column) in NAMES["file"]
        if hits and (named or hits * 2 >= len(sample)):
            scored.append((named, hits, -position, column))
    return max(scored)[3] if scored else ""


def is_missing(value: str) -> bool:
    return value.strip().casefold() in _MISSING


def label_name(column: str) -> str:
    """A label's name as it stands in the cohort: lower case, words joined by `_`."""
    return re.sub(r"\W+", "_", column).strip("_").lower()


@dataclass(frozen=True)
class Label:
    """A label column of the table and what it becomes."""

    column: str
    label: LabelColumn
    rare: frozenset[str] = frozenset()  # values set to missing because too few share them

    def parse(self, value: str) -> Any:
        """The value as it enters the record; None when missing or rare."""
        if is_missing(value) or value in self.rare:
            return None
        if self.label.kind == "ordinal":
            return int(float(value))
        return float(value) if self.label.kind == "continuous" else value


def find_labels(
    columns: Sequence[str], rows: Sequence[Mapping[str, str] | None], groups: Sequence[object], config: IngestConfig
) -> tuple[list[Label], dict[str, str], list[str]]:
    """Label columns, columns that stay behind with the reason, and notes.

    `rows` and `groups` have one entry per image; a value that only one patient has could tell who it is, and free text
    certainly could, so that both stay out unless the settings name the column.
    """
    labels: list[Label] = []
    dropped: dict[str, str] = {}
    notes: list[str] = []
    for column in columns:
        asked = column in config.labels or label_name(column) in config.labels
        if config.labels and not asked:
            dropped[column] = "not among ingest.labels"
            continue
        outcome = _judge(column, rows, groups, asked)
        if isinstance(outcome, str):
            dropped[column] = outcome
        elif outcome.label.name in {label.label.name for label in labels}:
            dropped[column] = "another column has this name"
        else:
            labels.append(outcome)
            if outcome.rare:
                notes.append(
                    f"{outcome.label.name}: {len(outcome.rare)} values that fewer than {COMMON_AMONG_MANY} patients "
                    "share were set to missing"
                )
    absent = [name for name in config.labels if name not in {x.column for x in labels} | {x.label.name for x in labels}]
    if absent:
        allowed = ", ".join(columns) or "none: there is no table"
        raise ConfigError(*(Problem("setting ingest.labels", f"no usable column {name!r}", allowed) for name in absent))
    return labels, dropped, notes


def _judge(
    column: str, rows: Sequence[Mapping[str, str] | None], groups: Sequence[object], asked: bool
) -> Label | str:
    """A label, or the reason why the column is none."""
    name = label_name(column)
    if name in STANDARD_COLUMNS or not name:
        return "its name means something else in a cohort"
    if not asked and set(re.split(r"[\W_]+", _spaced(column))) & IDENTIFYING:
        return "its name says that it may identify somebody"
    holders: dict[str, set[object]] = defaultdict(set)
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
        return Label(column, LabelColumn(name, "ordinal", tuple(sorted({int(n) for n in numbers}))))
    if numbers:
        if asked:
            return Label(column, LabelColumn(name, "continuous"))
        return "it is a measurement or a number that may identify; name it in ingest.labels to keep it"
    if asked:
        return Label(column, LabelColumn(name, "nominal", tuple(values)))
    few = len(values) <= FEW_VALUES
    least = COMMON_AMONG_FEW if few else COMMON_AMONG_MANY
    common = [value for value in values if len(holders[value]) >= least]
    if any(len(value) > LONGEST_VALUE or _LOOKS_IDENTIFYING.search(value) for value in (values if few else common)):
        return "its values look like free text, dates or identifiers"
    covered = sum(counts[value] for value in common) / counts.total()
    if len(common) < 2 or len(common) > MOST_VALUES or (len(common) * 2 < len(values) if few else covered < 0.8):
        return "too many of its values belong to few patients, as in free text"
    rare = frozenset() if few else frozenset(values) - frozenset(common)
    kept = tuple(value for value in values if value not in rare)
    return Label(column, LabelColumn(name, "nominal", kept), rare)


def _spaced(column: str) -> str:
    """Words apart, lower case: PatientName, patient_name and patient name alike."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", column).casefold()


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
        for order, word in enumerate(MAIN_LABEL_WORDS):
            if name == word or word in name.split("_"):
                return order, int(name != word), position
        return len(MAIN_LABEL_WORDS), 0, position

    return min(enumerate(labels), key=rank)[1] if labels else None
