"""What describes the images of a source, as rows with mapped columns: tables, names of folders, or the files."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from synthcohort.core.errors import ConfigError, InputError, Problem
from synthcohort.core.files import digest_each
from synthcohort.ingest.columns import Mapped, map_columns
from synthcohort.ingest.config import IngestConfig
from synthcohort.ingest.deidentify import Pseudonyms
from synthcohort.ingest.folders import Mode, patient_folders, read_folders
from synthcohort.ingest.scan import SPREADSHEET, Listing
from synthcohort.ingest.table import (
    FileIndex,
    FileJoin,
    IdentifierJoin,
    Table,
    is_known_name,
    join_files,
    no_header,
    read_table,
)
from synthcohort.ingest.tables import by_patient, stacked

Row = Mapping[str, str]
AMBIGUOUS = "the table has several rows for it that differ, or names it only as it names other files"
UNLISTED = "the table does not name it"
USUAL_NAMES = ("metadata.csv", "metadata.tsv", "labels.csv", "train.csv", "data.csv")
FOLDERS, CARRIED = "names of folders", "the images' own"  # stand where a table's name would
PLAIN_FORMATS = ("dicom", "raster", "slide")  # files of these bring no rows with them


@dataclass(frozen=True)
class SourceTable:
    """A table joined to the images by file name, or by DICOM identifiers; or no table, which describes nothing.

    yields    roles in which an image's own header goes before the row
    patients  tables of patients, with the column that names them, for rows that come with the images
    decided   columns that a setting made labels already: `find_labels` takes them whatever they hold
    """

    table: Table | None = None
    mapped: Mapped = field(default_factory=Mapped)
    by_file: FileJoin | None = None
    by_identifier: IdentifierJoin | None = None
    take_unlisted: bool = True
    warnings: tuple[str, ...] = ()
    yields: tuple[str, ...] = ()
    patients: tuple[tuple[Table, str], ...] = ()
    decided: tuple[str, ...] = ()

    @classmethod
    def from_rows(
        cls, rows: Sequence[Row | None], config: IngestConfig, name: str = CARRIED, file_column: str = ""
    ) -> tuple["SourceTable", list[Row | None]]:
        """A table of rows that images have already, and these rows with every column in each.

        Raises ConfigError when the settings name a column that no row has.
        """
        columns = tuple(dict.fromkeys(column for row in rows if row for column in row))
        whole: list[Row | None] = [{c: row.get(c, "") for c in columns} if row else None for row in rows]
        table = Table(name, columns, tuple(row for row in whole if row))
        asked = replace(config.columns, file=file_column or "-")
        return cls(table, map_columns(table, asked, FileIndex(()))), whole

    @property
    def absent(self) -> tuple[str, ...]:
        """Files that the table names and that are not there."""
        return self.by_file.absent if self.by_file else ()

    @property
    def fingerprint(self) -> str:
        return digest_each((self.table.columns, *self.table.rows)) if self.table else ""

    def refusal(self, name: str) -> str | None:
        """Why a file is refused before it is decoded, or None."""
        if self.by_file is None:
            return None
        if name in self.by_file.ambiguous:
            return AMBIGUOUS
        return None if self.take_unlisted or name in self.by_file.rows else UNLISTED

    def row(self, name: str, identifiers: Mapping[str, str | None], side: str | None) -> tuple[Row | None, str | None]:
        """The row of an image of the file `name` and, where it is to be refused, the reason.

        `identifiers`: sop_instance_uid and patient_id of its header, as `find_table`'s pseudonyms make them.
        """
        if self.by_file is not None:
            row = self.by_file.rows.get(name)
            covered = [self.mapped.known[r] for r in self.yields if r in self.mapped.known and identifiers.get(r)]
            return ({**row, **dict.fromkeys(covered, "")} if row and covered else row), None
        if self.by_identifier is not None:
            rows = self.by_identifier.find(identifiers, side)
            if len(rows) > 1:
                return None, AMBIGUOUS
            return (rows[0], None) if rows else (None, None if self.take_unlisted else UNLISTED)
        return None, None


def with_carried(
    table: SourceTable, rows: Sequence[Row | None], carried: Sequence[Row | None], config: IngestConfig
) -> tuple[SourceTable, list[Row | None]]:
    """Joins the rows that images brought themselves to those of the table, one of each per image taken.

    What a table says goes before, but not what folders say; the columns are mapped anew, and tables of patients are
    joined. Without carried rows all stays as it is. Raises ConfigError when the settings name a column that is absent.
    """
    if not any(carried):
        return table, list(rows)
    first = table.table.columns if table.table else ()
    folders = table.table is not None and table.table.name == FOLDERS
    joined: list[Row | None] = []
    for row, own in zip(rows, carried, strict=True):
        said = {**(row or {}), **(own or {})} if folders else {**(own or {}), **(row or {})}
        joined.append({c: said[c] for c in (*first, *said) if c in said} or None)
    name = table.table.name if table.table else CARRIED
    file_column, warnings = table.mapped.known.get("file", ""), table.warnings
    whole, filled = SourceTable.from_rows(joined, config, name, file_column)
    for patients, key in table.patients:
        column = whole.mapped.known.get("patient_id")
        told = {i: row for i, row in enumerate(filled) if row}
        extended = (
            by_patient(whole.table.columns if whole.table else (), told, column, patients, key) if column else None
        )
        if extended:
            whole, filled = SourceTable.from_rows(
                [extended[1].get(i) for i in range(len(filled))], config, name, file_column
            )
            warnings = (*warnings, _by_patient_said(patients))
    return replace(table, table=whole.table, mapped=whole.mapped, warnings=warnings, patients=()), filled


def _by_patient_said(table: Table) -> str:
    return f"table {table.name}: its rows were joined by patient"


def find_table(
    listing: Listing, config: IngestConfig, pseudonyms: Pseudonyms | None = None, folders: Mode = "auto"
) -> SourceTable:
    """The table that the settings name, or the one whose rows are about these images, or what the folders say.

    Tables of the same columns about different files are put together; a table with one row for each patient is joined
    to one that names files. `pseudonyms` are those that the images' identifiers went through. Raises InputError when
    several tables could be meant or the named one says nothing about the images.
    """
    finder = _Finder(listing, config, pseudonyms, folders)
    if config.table:
        return finder.named()
    found, strange = finder.among_all()
    if found:
        return replace(found, warnings=(*found.warnings, *strange))
    said = finder.of_folders()
    if finder.brings_no_rows and said.table is None and _asks(config):
        remedy = "a CSV or TSV file in the source that has them"
        raise ConfigError(
            Problem("section ingest", "columns or labels are named, and no table describes the images", remedy)
        )
    warnings = strange
    if listing.tables:
        warnings.append(f"{len(listing.tables)} tables were found and none is about these images")
    spreadsheets = sum(reason == SPREADSHEET for _, reason in listing.ignored)
    if spreadsheets:
        warnings.append(f"{spreadsheets} spreadsheets were not read; save them as CSV")
    return replace(said, warnings=(*warnings, *said.warnings))


@dataclass(frozen=True)
class _Finder:
    """The search for what describes the images."""

    listing: Listing
    config: IngestConfig
    pseudonyms: Pseudonyms | None
    folders: Mode

    @property
    def _names(self) -> list[str]:
        return [file.name for file in self.listing.images]

    @property
    def brings_no_rows(self) -> bool:
        """Whether no file brings rows with it."""
        return all(file.format.partition(":")[0] in PLAIN_FORMATS for file in self.listing.images)

    @property
    def _dicom(self) -> bool:
        return any(file.format == "dicom" for file in self.listing.images)

    def named(self) -> SourceTable:
        """The table that the settings name."""
        if self.config.table not in self.listing.tables:
            allowed = ", ".join(self.listing.tables) or "none: there is no CSV or TSV file in the source"
            raise ConfigError(Problem("setting ingest.table", f"no table {self.config.table!r}", allowed))
        index = FileIndex(self._names)
        table = read_table(self.listing.root, self.config.table, index)
        chosen = self._joined(table, map_columns(table, self.config.columns, index), index)
        if chosen is None:
            raise InputError(_unjoined(table))
        return self._with_patients(chosen)

    def among_all(self) -> tuple[SourceTable | None, list[str]]:
        """The tables that are about the images, made one, and what was said of tables that cannot be used.

        Raises InputError or ConfigError when no table can be read.
        """
        index = FileIndex(self._names)
        usable: list[SourceTable] = []
        others: list[tuple[Table, Mapped, SourceTable | None]] = []
        errors: dict[str, InputError | ConfigError] = {}
        for name in self.listing.tables:
            try:
                table = read_table(self.listing.root, name, index)
                mapped = map_columns(table, self.config.columns, index)
                chosen = self._joined(table, mapped, index)
            except (InputError, ConfigError) as error:
                errors[name] = error
                continue
            if chosen is not None and chosen.by_file is not None:
                usable.append(chosen)
            else:
                others.append((table, mapped, chosen))
        if errors and not usable and not others:
            raise next(iter(errors.values()))
        strange = [f"table {name} was not used: {error.problems[0].found}" for name, error in errors.items()
                   if isinstance(error, InputError) and isinstance(error.problems[0], Problem)]  # fmt: skip
        return self._put_together(usable, others), strange

    def _put_together(
        self, usable: Sequence[SourceTable], others: Sequence[tuple[Table, Mapped, SourceTable | None]]
    ) -> SourceTable | None:
        """One table of those joined by file name (`usable`) and the others; None when none is about the images."""
        if usable:
            by_file = usable[0] if len(usable) == 1 else self._one_of(usable)
            return self._with_patients(self._extended(by_file, [(table, mapped) for table, mapped, _ in others]))
        joined = [chosen for _, _, chosen in others if chosen is not None]
        if joined:
            return joined[0] if len(joined) == 1 else self._one_of(joined)
        said = self.of_folders()
        extended = self._extended(said, [(table, mapped) for table, mapped, _ in others])
        if extended is not said:
            return extended
        if self.brings_no_rows and len(others) == 1 and said.table is None and _asks(self.config):
            raise InputError(_unjoined(others[0][0]))
        keyed = tuple(
            (table, mapped.known["patient_id"]) for table, mapped, _ in others if "patient_id" in mapped.known
        )
        return replace(said, patients=keyed) if keyed and not self.brings_no_rows else None

    def of_folders(self) -> SourceTable:
        """What the names of folders say; a SourceTable without a table when that is nothing."""
        dicom = all(file.format == "dicom" for file in self.listing.images)
        found = read_folders(self._names, self.folders, dicom)
        if not found.rows:
            return SourceTable(warnings=found.warnings)
        table = Table(FOLDERS, found.columns, tuple(found.rows.values()))
        known = {column: column for column in found.columns if not column.startswith("label")}
        known = {role: column for role, column in known.items() if getattr(self.config.columns, role) != "-"}
        mapped = Mapped(known, tuple(column for column in found.columns if column.startswith("label")))
        join = FileJoin(found.rows, frozenset(), ())
        return SourceTable(
            table,
            mapped,
            by_file=join,
            warnings=found.warnings,
            yields=("patient_id", "laterality", "view", "modality"),
            decided=mapped.rest if self.folders == "label" else (),
        )

    def _joined(self, table: Table, mapped: Mapped, index: FileIndex) -> SourceTable | None:
        """The table joined in the best way it allows, or None when it allows none."""
        known, take = mapped.known, self.config.unlisted == "take"
        if "file" in known:
            if not any(map(is_known_name, table.columns)) and not _asks(self.config):
                raise InputError(no_header(table.name))  # names of files, and no name of a column
            join = join_files(table, known["file"], index)
            return SourceTable(table, mapped, by_file=join, take_unlisted=take) if join.rows else None
        if self._dicom and ("sop_instance_uid" in known or "patient_id" in known):
            uid, patient, side = (known.get(role) for role in ("sop_instance_uid", "patient_id", "laterality"))
            if self.pseudonyms:
                hashed = IdentifierJoin(table, uid, patient, side, self.pseudonyms.instance, self.pseudonyms.patient)
            else:
                hashed = IdentifierJoin(table, uid, patient, side)
            return SourceTable(table, mapped, by_identifier=hashed, take_unlisted=take)
        return None

    def _one_of(self, usable: Sequence[SourceTable]) -> SourceTable:
        """One of several: put together where they complete each other, else by a usual name, or by far the largest."""
        together = stacked([(s.table, s.by_file) for s in usable if s.table and s.by_file])
        if together and len(usable) == len([s for s in usable if s.by_file]):
            table, join = together
            mapped = map_columns(table, self.config.columns, FileIndex(join.rows))
            file = usable[0].mapped.known["file"]
            known = {**{role: column for role, column in mapped.known.items() if column != file}, "file": file}
            mapped = Mapped(known, tuple(column for column in table.columns if column not in known.values()))
            return replace(usable[0], table=table, mapped=mapped, by_file=join)
        ranks = sorted((_rank(s.table.name), i) for i, s in enumerate(usable) if s.table)
        if ranks[0][0][0] < len(USUAL_NAMES) and ranks[0][0] < ranks[1][0]:
            return usable[ranks[0][1]]
        sizes = sorted((len(s.by_file.rows) if s.by_file else 0 for s in usable), reverse=True)
        if sizes[0] >= 2 * sizes[1] and 2 * sizes[0] >= len(self.listing.images):
            return max(usable, key=lambda s: len(s.by_file.rows) if s.by_file else 0)
        names = ", ".join(s.table.name for s in usable if s.table)
        raise InputError(Problem("tables", "several describe the images", names, "name one: --set ingest.table=NAME"))

    def _extended(self, chosen: SourceTable, others: Sequence[tuple[Table, Mapped]]) -> SourceTable:
        """The table with what other tables say of its patients."""
        column = chosen.mapped.known.get("patient_id")
        if not column or not chosen.table or not chosen.by_file:
            return chosen
        for table, mapped in others:
            key = mapped.known.get("patient_id", "")
            joined = by_patient(chosen.table.columns, chosen.by_file.rows, column, table, key)
            if joined:
                new = joined[0][len(chosen.table.columns) :]
                more = {r: c for r, c in mapped.known.items() if r not in chosen.mapped.known and c in new}
                rest = tuple(c for c in new if c not in more.values())
                chosen = replace(
                    chosen,
                    table=Table(chosen.table.name, joined[0], tuple(joined[1].values())),
                    by_file=replace(chosen.by_file, rows=joined[1]),
                    mapped=Mapped({**chosen.mapped.known, **more}, chosen.mapped.rest + rest),
                    warnings=(*chosen.warnings, _by_patient_said(table)),
                )
        return chosen

    def _with_patients(self, chosen: SourceTable) -> SourceTable:
        """The table with patients from folders such as patient00012, where it names neither patient nor group."""
        known = chosen.mapped.known
        if not chosen.table or not chosen.by_file or "patient_id" in known or "group_id" in known:
            return chosen
        if self.folders in ("ignore", "label") or self.config.columns.patient_id == "-":
            return chosen
        patients = patient_folders(chosen.by_file.rows)
        if not patients or "patient_id" in chosen.table.columns:
            return chosen
        rows = {name: {**row, "patient_id": patients.get(name, "")} for name, row in chosen.by_file.rows.items()}
        table = Table(chosen.table.name, (*chosen.table.columns, "patient_id"), tuple(rows.values()))
        said = "the table names no patient: folders that are named like patients were taken for them"
        return replace(
            chosen, table=table, by_file=replace(chosen.by_file, rows=rows), yields=("patient_id",),
            mapped=replace(chosen.mapped, known={**known, "patient_id": "patient_id"}),
            warnings=(*chosen.warnings, said),
        )  # fmt: skip


def _rank(name: str) -> tuple[int, int]:
    """How usual a table's name is, and how deep it lies; the least is the likeliest."""
    folder, _, last = name.rpartition("/")
    return USUAL_NAMES.index(last) if last in USUAL_NAMES else len(USUAL_NAMES), folder.count("/") + bool(folder)


def _asks(config: IngestConfig) -> bool:
    """Whether the settings need a table."""
    columns = vars(config.columns).values()
    return bool(config.labels or config.label or any(column not in ("", "-") for column in columns))


def _unjoined(table: Table) -> Problem:
    sure = any(map(is_known_name, table.columns))  # else the first line may hold values
    columns = f"; columns: {', '.join(table.columns)}" if sure else f" ({len(table.columns)} columns)"
    return Problem(
        f"table {table.name}",
        f"no column holds the names of the images{columns}",
        "a column of file names, or for DICOM of SOP Instance UIDs or Patient IDs",
        "name it: --set ingest.columns.file=COLUMN",
    )
