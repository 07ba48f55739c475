"""What lies in a source: images, tables, and what is neither, in an order that depends on names alone.

A source is a folder, a single file or a zip archive. The members of archives are files like others, named
`archive.zip/inner/path.dcm`. Whatever may be an image ends up among `images` or among `refused`.
"""

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path, PurePosixPath

from synthcohort.core.errors import InputError, Problem
from synthcohort.formats import format_of
from synthcohort.formats.image import Source, Unreadable
from synthcohort.ingest.archive import is_archive, open_archive, open_source

TABLE_SUFFIXES = (".csv", ".tsv")
SPREADSHEET_SUFFIXES = (".xlsx", ".xls", ".xlsm", ".ods", ".numbers")
SPREADSHEET = "a spreadsheet; save it as CSV to have it read"
_CLUTTER = {"thumbs.db": "a preview cache", "desktop.ini": "a folder setting", "dicomdir": "an index of other files"}
_HEAD_BYTES = 132


@dataclass(frozen=True, slots=True)
class SourceFile:
    """A candidate image: its path relative to the source in POSIX form, its size in bytes, and the reader it is for."""

    name: str
    size: int
    format: str


@dataclass(frozen=True)
class Listing:
    """Everything found in a source. `ignored` and `refused` are pairs of relative name and reason.

    refused   what is or may be an image and cannot be read as it lies there; counts as found
    """

    root: Path
    images: tuple[SourceFile, ...]
    tables: tuple[str, ...]
    ignored: tuple[tuple[str, str], ...]
    refused: tuple[tuple[str, str], ...] = ()

    def source(self, file: SourceFile | str) -> Source:
        """The file for a reader. Raises Unreadable when it is a member that cannot be unpacked."""
        return open_source(self.root, file)


@dataclass
class _Found:
    """What has been found so far."""

    images: list[SourceFile] = field(default_factory=list)
    tables: list[str] = field(default_factory=list)
    ignored: list[tuple[str, str]] = field(default_factory=list)
    refused: list[tuple[str, str]] = field(default_factory=list)

    def add(self, name: str, size: Callable[[], int], head: Callable[[], bytes]) -> None:
        """Sorts a file in by its name, and by its first bytes only where the name does not decide."""
        try:
            self._add(name, size, head)
        except Unreadable as refusal:
            self.refused.append((name, str(refusal)))

    def _add(self, name: str, size: Callable[[], int], head: Callable[[], bytes]) -> None:
        lower = name.lower()
        if lower.endswith(TABLE_SUFFIXES):
            self.tables.append(name)
        elif lower.endswith(SPREADSHEET_SUFFIXES):
            self.ignored.append((name, SPREADSHEET))
        elif is_archive(name):
            self.refused.append((name, "an archive that is not read; unpack it, or pack it as a zip file"))
        elif kind := format_of(name, b"") or format_of(name, head()):
            self.images.append(SourceFile(name, size(), kind))
        elif lower.endswith(".gz"):
            self.refused.append((name, "compressed with gzip; unpack it"))
        else:
            self.ignored.append((name, "not an image"))

    def add_archive(self, path: Path, name: str) -> None:
        """Sorts in the members of a zip archive."""
        try:
            archive = open_archive(path)
        except Unreadable as refusal:
            self.refused.append((name, str(refusal)))
            return
        for member, reason in archive.refused:
            # What could be no image is ignored; a name without ending, as DICOM files have it, may be one.
            plain = member.rpartition(" (member ")[0]
            may_be = is_archive(plain) or not PurePosixPath(plain).suffix or format_of(plain, b"")
            (self.refused if may_be else self.ignored).append((f"{name}/{member}", reason))
        for member in archive.members:
            inner = f"{name}/{member}"
            clutter = next(filter(None, map(_clutter, member.split("/"))), None)
            if clutter:
                self.ignored.append((inner, clutter))
                continue
            self.add(inner, partial(archive.size, member), partial(archive.read, member, _HEAD_BYTES))


def scan(source: Path, exclude: Iterable[Path] = ()) -> Listing:
    """Lists a source, deterministically; links that lead out of it or to folders are not followed.

    Raises InputError when the source cannot be read or holds no image.
    """
    source = Path(source)
    if not source.exists():
        raise InputError(Problem(f"source {source}", "no such folder or file", "a folder of images, a file, a zip"))
    root = source.resolve()
    left_out = {os.fspath(path.resolve()) for path in exclude}
    found = _Found()
    if root.is_dir():
        _visit(root, "", root, left_out, found)
    else:
        single, root = root, root.parent
        if single.name.lower().endswith(".zip"):
            found.add_archive(single, single.name)
        else:
            found.add(single.name, partial(_size, single), partial(_head, single))
    if not found.images:
        raise InputError(_nothing(source, found))
    return Listing(root, tuple(found.images), tuple(found.tables), tuple(found.ignored), tuple(found.refused))


def _visit(folder: Path, prefix: str, root: Path, left_out: set[str], found: _Found) -> None:
    try:
        with os.scandir(folder) as listed:
            entries = sorted(listed, key=lambda entry: entry.name)
    except OSError as error:
        why = f"cannot be listed ({error.strerror})"
        if prefix:
            found.refused.append((prefix.rstrip("/"), f"a folder that {why}"))
            return
        raise InputError(Problem(f"folder {folder}", why, "a readable folder")) from None
    for entry in entries:
        name = prefix + entry.name
        if entry.path in left_out:
            continue
        if reason := _clutter(entry.name):
            found.ignored.append((name, reason))
        elif entry.is_symlink() and (entry.is_dir() or not _inside(Path(entry.path), root)):
            found.ignored.append((name, "a link that leads to a folder, out of the source or nowhere"))
        elif entry.is_dir():
            _visit(Path(entry.path), name + "/", root, left_out, found)
        elif not entry.is_file():
            found.ignored.append((name, "no regular file"))
        elif entry.name.lower().endswith(".zip"):
            found.add_archive(Path(entry.path), name)
        else:
            found.add(name, partial(_size, entry), partial(_head, entry.path))


def _nothing(source: Path, found: _Found) -> Problem:
    """What to say of a source without images."""
    if found.refused:
        reasons = "; ".join(sorted({reason for _, reason in found.refused})[:3])
        return Problem(f"source {source}", f"nothing that can be read ({len(found.refused)} refused: {reasons})")
    seen = len(found.ignored) + len(found.tables)
    return Problem(f"source {source}", f"no images found ({seen} other files)", "DICOM, PNG, JPEG and other images")


def _clutter(name: str) -> str | None:
    if name == "__MACOSX":
        return "an archive's leftover"
    if name.startswith("."):
        return "hidden"
    return _CLUTTER.get(name.lower())


def _inside(path: Path, root: Path) -> bool:
    try:
        return path.resolve(strict=True).is_relative_to(root)
    except (OSError, RuntimeError):
        return False


def _size(file: "os.DirEntry[str] | Path") -> int:
    try:
        return file.stat().st_size
    except OSError as error:
        raise Unreadable(f"cannot be read ({error.strerror})") from None


def _head(path: str | Path) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read(_HEAD_BYTES)
    except OSError as error:
        raise Unreadable(f"cannot be read ({error.strerror})") from None
