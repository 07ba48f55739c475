"""The table beside the images: reading it, and finding each image's row by file name or by DICOM identifiers."""

import csv
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from synthcohort.core.errors import InputError, Problem
from synthcohort.ingest.deidentify import parse_laterality

Row = Mapping[str, str]
DELIMITERS = ",;\t|"


@dataclass(frozen=True)
class Table:
    """A CSV or TSV file as text: no value is interpreted here."""

    name: str  # relative to the source, POSIX
    columns: tuple[str, ...]
    rows: tuple[Row, ...]

    def values(self, column: str) -> list[str]:
        return [row[column] for row in self.rows]


def read_table(root: Path, name: str) -> Table:
    """Reads a table. Raises InputError, naming the line, when it is no proper one; values are never quoted."""
    what = f"table {name}"
    data = (root / name).read_bytes()
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = data.decode("latin-1")
    if "\0" in text:
        raise InputError(Problem(what, "is not text", "CSV or TSV in UTF-8"))
    first = text.partition("\n")[0]
    delimiter = max(DELIMITERS, key=first.count)
    reader = csv.reader(text.splitlines(keepends=True), delimiter=delimiter)
    try:
        header = [cell.strip() for cell in next(reader, [])]
        if not any(header):
            raise InputError(Problem(what, "is empty", "a line of column names, then one line per image"))
        repeated = sorted({column for column in header if header.count(column) > 1})
        if repeated:
            found = f"has several columns called {', '.join(map(repr, repeated))}"
            raise InputError(Problem(what, found, "one of each"))
        rows = []
        for cells in reader:
            if not any(cell.strip() for cell in cells):
                continue
            if len(cells) > len(header):
                found = f"line {reader.line_num} has {len(cells)} cells, the header {len(header)}"
                remedy = "quote cells that hold the delimiter"
                raise InputError(Problem(what, found, "as many cells as column names", remedy))
            padded = [cell.strip() for cell in cells] + [""] * (len(header) - len(cells))
            rows.append(dict(zip(header, padded, strict=True)))
    except csv.Error as error:
        raise InputError(Problem(what, f"line {reader.line_num} cannot be read ({error})", "CSV or TSV")) from None
    return Table(name, tuple(column for column in header if column), tuple(rows))


class FileIndex:
    """Finds a file by what a table calls it: a path, a name, or a name without its ending."""

    def __init__(self, names: Iterable[str]):
        self.names = set(names)
        self._by_key: dict[str, list[str]] = defaultdict(list)
        for name in sorted(self.names):
            path = PurePosixPath(name)
            for key in {path.name, _stem(path.name)}:
                self._by_key[key].append(name)

    def find(self, value: str, folder: str = "") -> list[str]:
        """All files the value may mean; the first that fits by full path, else by name."""
        text = re.sub(r"^(\./)+", "", value.strip().replace("\\", "/"))
        if not text:
            return []
        for path in (f"{folder}/{text}" if folder else text, text):
            if path in self.names:
                return [path]
        inner = [name for name in self._by_key.get(PurePosixPath(text).name, []) if name.endswith("/" + text)]
        return inner or self._by_key.get(PurePosixPath(text).name, [])


def _stem(name: str) -> str:
    for ending in (".nii.gz",):
        if name.lower().endswith(ending):
            return name[: -len(ending)]
    return PurePosixPath(name).stem


@dataclass(frozen=True)
class FileJoin:
    """Rows by file name; `ambiguous` are files for which rows disagree, `absent` rows that name no file."""

    rows: Mapping[str, Row]
    ambiguous: frozenset[str]
    absent: tuple[str, ...]


def join_files(table: Table, column: str, index: FileIndex) -> FileJoin:
    """Gives each file its row. A name that several files bear, or rows that disagree, leave a file without."""
    folder = str(PurePosixPath(table.name).parent)
    folder = "" if folder == "." else folder
    rows: dict[str, Row] = {}
    ambiguous: set[str] = set()
    absent = []
    for row in table.rows:
        found = index.find(row[column], folder)
        if not found:
            absent.append(row[column])
        for name in found:
            if len(found) > 1 or (name in rows and rows[name] != row):
                ambiguous.add(name)
            rows.setdefault(name, row)
    return FileJoin(rows, frozenset(ambiguous), tuple(value for value in absent if value))


class IdentifierJoin:
    """Rows by DICOM identifiers: SOP Instance UID, or Patient ID (with laterality where a patient has several)."""

    def __init__(self, table: Table, uid: str | None, patient: str | None, laterality: str | None):
        self._by_uid = _grouped(table.rows, uid)
        self._by_patient = _grouped(table.rows, patient)
        self._laterality = laterality

    def find(self, identifiers: Mapping[str, str], side: str | None) -> list[Row]:
        """The rows that fit: none, one, or several that disagree."""
        rows = self._by_uid.get(identifiers.get("sop_instance_uid", ""), [])
        if not rows:
            rows = self._by_patient.get(identifiers.get("patient_id", ""), [])
            if len(rows) > 1 and self._laterality and side:
                rows = [row for row in rows if parse_laterality(row[self._laterality]) == side]
        return [row for i, row in enumerate(rows) if row not in rows[:i]]


def _grouped(rows: Sequence[Row], column: str | None) -> dict[str, list[Row]]:
    grouped: dict[str, list[Row]] = defaultdict(list)
    if column:
        for row in rows:
            if row[column]:
                grouped[row[column]].append(row)
    return grouped
