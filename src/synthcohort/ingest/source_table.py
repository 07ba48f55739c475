"""The one table that describes a source, if there is one: found, its columns mapped, its rows given to images."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from synthcohort.core.errors import ConfigError, InputError, Problem
from synthcohort.core.files import digest_json
from synthcohort.ingest.columns import Mapped, map_columns
from synthcohort.ingest.config import IngestConfig
from synthcohort.ingest.decode import Decoded
from synthcohort.ingest.scan import Listing
from synthcohort.ingest.table import FileIndex, FileJoin, IdentifierJoin, Table, join_files, read_table

Row = Mapping[str, str]
AMBIGUOUS = "the table has several rows for it that differ, or names it only as it names other files"
UNLISTED = "the table does not name it"
USUAL_NAMES = ("metadata.csv", "metadata.tsv", "labels.csv", "train.csv", "data.csv")


@dataclass(frozen=True)
class SourceTable:
    """A table joined to the images by file name, or by DICOM identifiers; or no table, which describes nothing."""

    table: Table | None = None
    mapped: Mapped = field(default_factory=Mapped)
    by_file: FileJoin | None = None
    by_identifier: IdentifierJoin | None = None
    take_unlisted: bool = True
    warnings: tuple[str, ...] = ()

    @property
    def absent(self) -> tuple[str, ...]:
        """Files that the table names and that are not there."""
        return self.by_file.absent if self.by_file else ()

    @property
    def fingerprint(self) -> str:
        return digest_json([self.table.columns, self.table.rows]) if self.table else ""

    def refusal(self, name: str) -> str | None:
        """Why a file is refused before it is decoded, or None."""
        if self.by_file is None:
            return None
        if name in self.by_file.ambiguous:
            return AMBIGUOUS
        return None if self.take_unlisted or name in self.by_file.rows else UNLISTED

    def row(self, image: Decoded) -> tuple[Row | None, str | None]:
        """An image's row and, where it is to be refused, the reason."""
        if self.by_file is not None:
            return self.by_file.rows.get(image.name), None
        if self.by_identifier is not None:
            rows = self.by_identifier.find(image.identifiers, image.facts.get("laterality"))
            if len(rows) > 1:
                return None, AMBIGUOUS
            return (rows[0], None) if rows else (None, None if self.take_unlisted else UNLISTED)
        return None, None


def find_table(listing: Listing, config: IngestConfig) -> SourceTable:
    """The table that the settings name, or the only one whose rows are about these images.

    Raises InputError when several could be meant or the named one says nothing about the images.
    """
    index = FileIndex(file.name for file in listing.images)
    dicom = any(file.format == "dicom" for file in listing.images)
    if config.table:
        if config.table not in listing.tables:
            allowed = ", ".join(listing.tables) or "none: there is no CSV or TSV file in the source"
            raise ConfigError(Problem("setting ingest.table", f"no table {config.table!r}", allowed))
        table = read_table(listing.root, config.table)
        chosen = _joined(table, map_columns(table, config.columns, index), index, dicom, config)
        if chosen is None:
            raise InputError(_unjoined(table))
        return chosen
    usable = []
    several = len(listing.tables) > 1
    for name in listing.tables:
        try:
            table = read_table(listing.root, name)
            mapped = map_columns(table, config.columns, index)
        except (InputError, ConfigError):
            if several:
                continue
            raise
        chosen = _joined(table, mapped, index, dicom, config)
        if chosen is None and not several and _asks(config):
            raise InputError(_unjoined(table))
        if chosen is not None:
            usable.append(chosen)
    if len(usable) > 1:
        usual = [s for s in usable if s.table and s.table.name in USUAL_NAMES]
        usable = sorted(usual, key=lambda s: USUAL_NAMES.index(s.table.name if s.table else ""))[:1] or usable
    if len(usable) > 1:
        names = ", ".join(s.table.name for s in usable if s.table)
        raise InputError(Problem("tables", "several describe the images", names, "name one: --set ingest.table=NAME"))
    if usable:
        return usable[0]
    if _asks(config):
        found = "columns or labels are named, and no table describes the images"
        raise ConfigError(Problem("section ingest", found, "a CSV or TSV file in the source that has them"))
    unused = (f"{len(listing.tables)} tables were found and none is about these images",) if listing.tables else ()
    return SourceTable(warnings=unused)


def _asks(config: IngestConfig) -> bool:
    """Whether the settings need a table."""
    columns = vars(config.columns).values()
    return bool(config.labels or config.label or any(column not in ("", "-") for column in columns))


def _joined(table: Table, mapped: Mapped, index: FileIndex, dicom: bool, config: IngestConfig) -> SourceTable | None:
    """The table joined in the best way it allows, or None when it allows none."""
    known = mapped.known
    take = config.unlisted == "take"
    if "file" in known:
        join = join_files(table, known["file"], index)
        return SourceTable(table, mapped, by_file=join, take_unlisted=take) if join.rows else None
    if dicom and ("sop_instance_uid" in known or "patient_id" in known):
        joined = IdentifierJoin(table, known.get("sop_instance_uid"), known.get("patient_id"), known.get("laterality"))
        return SourceTable(table, mapped, by_identifier=joined, take_unlisted=take)
    return None


def _unjoined(table: Table) -> Problem:
    return Problem(
        f"table {table.name}",
        f"no column holds the names of the images; columns: {', '.join(table.columns)}",
        "a column of file names, or for DICOM of SOP Instance UIDs or Patient IDs",
        "name it: --set ingest.columns.file=COLUMN",
    )
