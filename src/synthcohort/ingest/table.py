"""The table beside the images: reading it, and finding each image's row by file name or by DICOM identifiers."""

import csv
import io
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from synthcohort.core.errors import InputError, Problem
from synthcohort.formats.image import Unreadable
from synthcohort.ingest.archive import open_source
from synthcohort.ingest.class_words import class_words_of, is_class_value
from synthcohort.ingest.deidentify import parse_laterality
from synthcohort.ingest.terms import is_placeholder_id, looks_identifying
from synthcohort.ingest.vocabulary import COLUMN_NAMES, IDENTIFYING, LABEL_WORDS

Row = Mapping[str, str]
DELIMITERS = ",;\t|"
_ENDINGS = (
    ".nii.gz", ".dcm", ".dicom", ".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".nii", ".svs", ".ndpi", ".npy",
)  # fmt: skip
_KNOWN_NAMES = frozenset(name for names in COLUMN_NAMES.values() for name in names)
_NUMBER = re.compile(r"[-+]?\d+(?:[.,]\d+)?")


@dataclass(frozen=True)
class Table:
    """A CSV or TSV file as text: no value is interpreted here."""

    name: str  # relative to the source, POSIX
    columns: tuple[str, ...]
    rows: tuple[Row, ...]

    def values(self, column: str) -> list[str]:
        return [row[column] for row in self.rows]


def read_table(root: Path, name: str, files: "FileIndex | None" = None) -> Table:
    """Reads a table, also from an archive; `files` are the images there are, to tell a first line of data by.

    Raises InputError, naming the line; neither values are quoted nor what may be values in the place of a header.
    """
    what = f"table {name}"
    try:
        text = _text(open_source(root, name).read())
    except Unreadable as refusal:
        raise InputError(Problem(what, str(refusal))) from None
    if text is None:
        raise InputError(Problem(what, "is not text", "CSV or TSV in UTF-8 or UTF-16"))
    delimiter, text = _delimiter(text)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    try:
        header = [cell.strip() for cell in next(reader, [])]
        if not any(header):
            raise InputError(Problem(what, "is empty", "a line of column names, then one line per image"))
        repeated = [str(i) for i, column in enumerate(header, 1) if column and header.count(column) > 1]
        if repeated:
            found = f"several columns have the same name: {' and '.join(repeated)}"
            raise InputError(Problem(what, found, "a name of its own for each"))
        used = [i for i, column in enumerate(header) if column]
        rows = []
        for cells in reader:
            if not any(cell.strip() for cell in cells):
                continue
            while len(cells) > len(header) and not cells[-1].strip():
                cells.pop()
            if len(cells) > len(header):
                found = f"line {reader.line_num} has {len(cells)} cells, the header {len(header)}"
                remedy = "quote cells that hold the delimiter"
                raise InputError(Problem(what, found, "as many cells as column names", remedy))
            rows.append({header[i]: cells[i].strip() if i < len(cells) else "" for i in used})
    except csv.Error as error:
        raise InputError(Problem(what, f"line {reader.line_num} cannot be read ({error})", "CSV or TSV")) from None
    columns = tuple(header[i] for i in used)
    rows = [row for row in rows if any(row[column] != column for column in columns)]  # a header in the midst
    if holds_data(columns, rows, files):
        raise InputError(no_header(name))
    return Table(name, columns, tuple(rows))


def no_header(name: str) -> Problem:
    """What to say of a table whose first line is no header; the line is not quoted, for it may name somebody."""
    return Problem(
        f"table {name}", "its first line seems to hold data", "column names in the first line",
        "write a line such as file,patient_id,label above it, or name that of files: --set ingest.columns.file=NAME",
    )  # fmt: skip


def is_known_name(column: str) -> bool:
    """Whether a column's name is one that columns have in the world."""
    if re.sub(r"[\W_]+", "", column).casefold() in _KNOWN_NAMES:
        return True
    if any(letter.isdigit() for letter in column) or is_class_value(column):
        return False  # malignant and Station 3 are values rather than names
    return bool(set(class_words_of(column)) & (LABEL_WORDS | IDENTIFYING))


def holds_data(columns: Sequence[str], rows: Sequence[Row], files: "FileIndex | None") -> bool:
    """Whether what stands where the column names should are values: a file, a date, a number, words of the rows."""
    strange = [column for column in columns if not is_known_name(column)]
    if any(looks_identifying(column) or column.casefold().endswith(_ENDINGS) for column in strange):
        return True
    numbers = [column for column in strange if _NUMBER.fullmatch(column)]
    if any(len(column) > 2 for column in numbers) or (numbers and len(strange) == len(columns)):
        return True
    first = rows[0] if rows else {}
    if files and any(files.find(column) and files.find(first.get(column, "")) for column in strange):
        return True
    below = rows[: 2**12]
    return len(strange) == len(columns) and any(any(row[column] == column for row in below) for column in columns)


def _text(data: bytes) -> str | None:
    """The text of a table: UTF-8, or what its byte order mark says, or what Windows wrote; None when it is none."""
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        encodings = ["utf-16"]
    else:
        encodings = ["utf-8-sig", "cp1252", "latin-1"]
    for encoding in encodings:
        try:
            text = data.decode(encoding)
        except UnicodeDecodeError:
            continue
        return None if "\0" in text else text
    return None


def _delimiter(text: str) -> tuple[str, str]:
    """The delimiter that cuts the first line into most cells, and the text without Excel's line `sep=;`."""
    first, _, rest = text.partition("\n")
    asked = re.fullmatch(r"sep=(.)\r?", first)
    if asked:
        return asked[1], rest
    head = "\n".join(text[: 2**16].splitlines()[:20])  # a quoted name may go on in the next line

    def cells(delimiter: str) -> int:
        try:
            return len(next(csv.reader(io.StringIO(head, newline=""), delimiter=delimiter), []))
        except csv.Error:
            return 0

    return max(DELIMITERS, key=cells), text


class FileIndex:
    """Finds a file by what a table calls it: a path, a name, a name without its ending, or with another image's."""

    def __init__(self, names: Iterable[str]):
        self.names = set(names)
        self._by_key: dict[str, list[str]] = defaultdict(list)
        for name in sorted(self.names):
            last = name.rpartition("/")[2]
            for key in {last.casefold(), _stem(last).casefold()}:
                self._by_key[key].append(name)

    def find(self, value: str, folder: str = "") -> list[str]:
        """All files the value may mean; the first that fits by full path, else by name."""
        text = re.sub(r"^(\./)+", "", value.strip().replace("\\", "/"))
        if not text:
            return []
        for path in (f"{folder}/{text}" if folder else text, text):
            if path in self.names:
                return [path]
        last = text.rpartition("/")[2]
        found = self._by_key.get(last.casefold(), [])
        if not found and last.casefold().endswith(
            _ENDINGS
        ):  # the table may tell of the images before they were converted
            found = self._by_key.get(_stem(last).casefold(), [])
        exact = [name for name in found if name.rpartition("/")[2] == last] or found
        return [name for name in exact if name.endswith("/" + text)] or exact


def _stem(name: str) -> str:
    if name.lower().endswith(".nii.gz"):
        return name[: -len(".nii.gz")]
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


def _same(value: str) -> str:
    return value


class IdentifierJoin:
    """Rows by DICOM identifiers: SOP Instance UID, or Patient ID (with laterality where a patient has several).

    `hash_uid` and `hash_patient` are what the images' identifiers went through, and the table's must go through too.
    """

    def __init__(
        self, table: Table, uid: str | None, patient: str | None, laterality: str | None,
        hash_uid: Callable[[str], str] = _same, hash_patient: Callable[[str], str] = _same,
    ):  # fmt: skip
        self._by_uid = _grouped(table.rows, uid, hash_uid)
        named = [row for row in table.rows if patient and not is_placeholder_id(row[patient])]
        self._by_patient = _grouped(named, patient, hash_patient)
        self._laterality = laterality

    def find(self, identifiers: Mapping[str, str | None], side: str | None) -> list[Row]:
        """The rows that fit: none, one, or several that disagree."""
        rows = self._by_uid.get(identifiers.get("sop_instance_uid") or "", [])
        if not rows:
            rows = self._by_patient.get(identifiers.get("patient_id") or "", [])
            if len(rows) > 1 and self._laterality and side:
                rows = [row for row in rows if parse_laterality(row[self._laterality]) == side]
        return [row for i, row in enumerate(rows) if row not in rows[:i]]


def _grouped(rows: Sequence[Row], column: str | None, hashed: Callable[[str], str]) -> dict[str, list[Row]]:
    grouped: dict[str, list[Row]] = defaultdict(list)
    if column:
        for row in rows:
            if row[column]:
                grouped[hashed(row[column])].append(row)
    return grouped
