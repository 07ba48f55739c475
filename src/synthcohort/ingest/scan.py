"""What lies in a folder: images, tables, and what is neither, in an order that depends on names alone."""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from synthcohort.core.errors import InputError, Problem
from synthcohort.formats import format_of

TABLE_SUFFIXES = (".csv", ".tsv")
_CLUTTER = {"thumbs.db": "a preview cache", "desktop.ini": "a folder setting", "dicomdir": "an index of other files"}
_HEAD_BYTES = 132


@dataclass(frozen=True)
class SourceFile:
    """A candidate image: its path relative to the source in POSIX form, its size in bytes, and the reader it is for."""

    name: str
    size: int
    format: str


@dataclass(frozen=True)
class Listing:
    """Everything found under a source folder. `ignored` are pairs of relative name and reason."""

    root: Path
    images: tuple[SourceFile, ...]
    tables: tuple[str, ...]
    ignored: tuple[tuple[str, str], ...]


def scan(source: Path, exclude: Iterable[Path] = ()) -> Listing:
    """Lists a folder, deterministically; links that lead out of it or to folders are not followed.

    Raises InputError when the source is no readable folder or holds no image.
    """
    source = Path(source)
    if not source.exists():
        raise InputError(Problem(f"source {source}", "no such folder", "a folder of images"))
    if not source.is_dir():
        raise InputError(Problem(f"source {source}", "is a file", "a folder of images", "unpack archives first"))
    root = source.resolve()
    left_out = {path.resolve() for path in exclude}
    images: list[SourceFile] = []
    tables: list[str] = []
    ignored: list[tuple[str, str]] = []

    def visit(folder: Path) -> None:
        try:
            entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
        except OSError as error:
            found = f"cannot be listed ({error.strerror})"
            raise InputError(Problem(f"folder {folder}", found, "a readable folder")) from None
        for entry in entries:
            path = Path(entry.path)
            name = path.relative_to(root).as_posix()
            if path in left_out:
                continue
            if reason := _clutter(entry.name):
                ignored.append((name, reason))
            elif entry.is_symlink() and (entry.is_dir() or not _inside(path, root)):
                ignored.append((name, "a link that leads to a folder, out of the source or nowhere"))
            elif entry.is_dir():
                visit(path)
            elif not entry.is_file():
                ignored.append((name, "no regular file"))
            elif entry.name.lower().endswith(TABLE_SUFFIXES):
                tables.append(name)
            else:
                kind = format_of(entry.name, _head(path))
                if kind:
                    images.append(SourceFile(name, entry.stat().st_size, kind))
                else:
                    ignored.append((name, "not an image"))

    visit(root)
    if not images:
        seen = len(ignored) + len(tables)
        raise InputError(
            Problem(f"source {source}", f"no images found ({seen} other files)", "DICOM, PNG or JPEG files")
        )
    return Listing(root, tuple(images), tuple(tables), tuple(ignored))


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


def _head(path: Path) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read(_HEAD_BYTES)
    except OSError:
        return b""
