"""Zip archives: their members as files, checked before and while they are read; nothing is ever unpacked to disk.

What cannot be trusted is refused with a reason: names that lead elsewhere, links, encrypted members, names that two
members share, archives inside archives, and whatever grows out of proportion. An archive that is damaged, or built to
deceive, is refused as a whole.
"""

import os
import re
import stat
import struct
import unicodedata
import zipfile
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from synthcohort.formats.image import Source, Unreadable

if TYPE_CHECKING:
    from synthcohort.ingest.scan import SourceFile

DAMAGED = "damaged, cut off, or no zip archive"
_TAIL_BYTES = 22 + 65535 + 76  # end record, its longest comment, and the two records that zip64 puts before it
_LOCAL_HEADER_BYTES, _DIRECTORY_ENTRY_BYTES = 30, 46
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)
_ENCRYPTED_BITS = 0x1 | 0x40 | 0x2000
_ARCHIVE_SUFFIXES = (".zip", ".tar", ".tgz", ".tar.gz", ".tar.bz2", ".tar.xz", ".7z", ".rar")
_BLOCK = 2**20


@dataclass(frozen=True)
class Limits:
    """What an archive may hold, in bytes once unpacked.

    members        most members
    member_bytes   most of one member: it is read into memory
    total_bytes    most of all members together
    ratio          most bytes that one compressed byte may become, of members larger than `ratio_from_bytes`
    """

    members: int = 1_000_000
    member_bytes: int = 2**31
    total_bytes: int = 2**40
    ratio: int = 200
    ratio_from_bytes: int = 50 * 2**20
    directory_bytes: int = 2**28


class Archive:
    """An open zip file: `members` may be read by their names; `refused` are pairs of a printable name and a reason."""

    def __init__(self, path: Path, limits: Limits = Limits()):
        """Raises Unreadable when the archive as a whole cannot be trusted."""
        self._limits = limits
        try:
            _check_directory(path, limits)
            self._zip = zipfile.ZipFile(path)
        except Unreadable:
            raise
        except OSError as error:
            raise Unreadable(f"cannot be read ({error.strerror})") from None
        except Exception:  # a damaged directory may fail anywhere in zipfile, with any exception
            raise Unreadable(DAMAGED) from None
        try:
            self.members, self.refused = self._checked()
        except Exception as error:
            self.close()
            if isinstance(error, Unreadable):
                raise
            raise Unreadable(DAMAGED) from None

    def close(self) -> None:
        self._zip.close()

    def _checked(self) -> tuple[dict[str, zipfile.ZipInfo], tuple[tuple[str, str], ...]]:
        entries = self._zip.infolist()
        if len(entries) > self._limits.members:
            raise Unreadable(_too_many(self._limits))
        if _overlap(entries, self._zip.start_dir):
            raise Unreadable("its members overlap, as in a zip bomb")
        if sum(entry.file_size for entry in entries) > self._limits.total_bytes:
            most = self._limits.total_bytes / 2**30
            raise Unreadable(f"holds more than {most:g} GiB unpacked; unpack it and give the folder")
        files = [(n, entry) for n, entry in enumerate(entries) if not entry.filename.endswith("/")]
        folded = Counter(_folded(entry.orig_filename) for _, entry in files)
        members, refused = {}, []
        for number, entry in files:
            reason = _refusal(entry, self._limits)
            if not reason and folded[_folded(entry.orig_filename)] > 1:
                reason = "several members have this name, upper and lower case being the same"
            if reason:
                refused.append((f"{_printable(entry.orig_filename)} (member {number})", reason))
            else:
                members[_normal(entry.filename)] = entry
        return dict(sorted(members.items())), tuple(refused)

    def size(self, name: str) -> int:
        """Bytes of a member once unpacked, as the archive says."""
        return self.members[name].file_size

    def read(self, name: str, most: int | None = None) -> bytes:
        """A member's bytes, or its first `most`. Raises Unreadable.

        zipfile gives no more bytes than the archive's directory says and compares their checksum, so that what
        `_checked` added up holds; the ratio and the limit are checked on what really comes out.
        """
        entry = self.members.get(name)
        if entry is None:
            raise Unreadable("is no longer in the archive")
        limits, blocks, total = self._limits, [], 0
        try:
            with self._zip.open(entry) as file:
                while most is None or total < most:
                    block = file.read(_BLOCK if most is None else min(_BLOCK, most - total))
                    if not block:
                        break
                    blocks.append(block)
                    total += len(block)
                    if total > limits.member_bytes:
                        raise Unreadable(_too_large(limits))
                    if _out_of_proportion(total, entry.compress_size, limits):
                        raise Unreadable(_BOMB)
        except Unreadable:
            raise
        except Exception:  # a damaged member may fail anywhere in zipfile or the decompressor, with any exception
            raise Unreadable("damaged: it cannot be unpacked from its archive") from None
        return b"".join(blocks)


_BOMB = "grows out of proportion when unpacked, as a zip bomb does"


def open_source(root: Path, file: "SourceFile | str") -> Source:
    """A listed file for a reader: its path, or the bytes of an archive's member; works in any process.

    Raises Unreadable when the member, or the whole archive, cannot be read.
    """
    name = file if isinstance(file, str) else file.name
    if ".zip/" in name.lower():
        parts = name.split("/")
        for i in range(1, len(parts)):
            archive = root.joinpath(*parts[:i])
            if parts[i - 1].lower().endswith(".zip") and archive.is_file():
                return Source(name, data=open_archive(archive).read("/".join(parts[i:])))
    return Source(name, path=root / name)


def open_archive(path: Path) -> Archive:
    """The archive, opened once in each process and kept open while it does not change. Raises Unreadable."""
    try:
        status = path.stat()
    except OSError as error:
        raise Unreadable(f"cannot be read ({error.strerror})") from None
    return _opened(str(path), status.st_size, status.st_mtime_ns, os.getpid())


@lru_cache(maxsize=8)  # by process, because processes that were forked share the place where they read in a file
def _opened(path: str, size: int, changed_ns: int, process: int) -> Archive:
    return Archive(Path(path))


def is_archive(name: str) -> bool:
    """Whether a file's name is that of an archive, of whatever kind."""
    return name.lower().endswith(_ARCHIVE_SUFFIXES)


def _check_directory(path: Path, limits: Limits) -> None:
    """Counts the entries of the directory before zipfile makes an object of each. Source: APPNOTE.TXT 4.3.12-4.3.16."""
    with open(path, "rb") as file:
        size = file.seek(0, os.SEEK_END)
        start = max(0, size - _TAIL_BYTES)
        file.seek(start)
        tail = file.read()
        end = tail.rfind(b"PK\5\6")
        if end < 0 or len(tail) - end < 22:
            raise Unreadable(DAMAGED)
        (length,) = struct.unpack_from("<I", tail, end + 12)
        first = start + end - length
        if tail[end - 20 : end - 16] == b"PK\6\7" and tail[end - 76 : end - 72] == b"PK\6\6":
            (length,) = struct.unpack_from("<Q", tail, end - 76 + 40)
            first = start + end - 76 - length
        if first < 0:
            raise Unreadable(DAMAGED)
        if length > limits.directory_bytes:
            raise Unreadable(_too_many(limits))
        file.seek(first)
        directory = file.read(length)
    position, count = 0, 0
    while position + _DIRECTORY_ENTRY_BYTES <= length and directory.startswith(b"PK\1\2", position):
        position += _DIRECTORY_ENTRY_BYTES + sum(struct.unpack_from("<3H", directory, position + 28))
        count += 1
        if count > limits.members:
            raise Unreadable(_too_many(limits))


def _refusal(entry: zipfile.ZipInfo, limits: Limits) -> str | None:
    """Why a member is not even looked at, or None."""
    name, kind = entry.orig_filename, stat.S_IFMT(entry.external_attr >> 16)
    if any(ord(letter) < 32 or ord(letter) == 127 for letter in name):
        return "its name holds control characters"
    if "\\" in name:
        return "its name holds a backslash, which is a folder on some machines and not on others"
    if name.startswith("/") or re.match(r"[A-Za-z]:", name) or ".." in name.split("/") or not _normal(name):
        return "its name leads out of the archive"
    if kind == stat.S_IFLNK:
        return "a link, which archives may not hold"
    if kind not in (0, stat.S_IFREG):
        return "no regular file"
    if entry.flag_bits & _ENCRYPTED_BITS:
        return "encrypted; unpack the archive with its password and give the folder"
    if is_archive(name):
        return "an archive inside an archive; unpack the outer one and give the folder"
    if entry.compress_type not in _METHODS:
        return f"compressed by method {entry.compress_type}, which is not read; unpack the archive and give the folder"
    if entry.file_size > limits.member_bytes:
        return _too_large(limits)
    return _BOMB if _out_of_proportion(entry.file_size, entry.compress_size, limits) else None


def _out_of_proportion(unpacked: int, packed: int, limits: Limits) -> bool:
    return unpacked > limits.ratio_from_bytes and unpacked > limits.ratio * packed


def _overlap(entries: Iterable[zipfile.ZipInfo], directory: int) -> bool:
    """Whether any member's bytes are another's too, or the directory's."""
    spans = sorted(
        (entry.header_offset, _LOCAL_HEADER_BYTES + len(entry.orig_filename) + entry.compress_size) for entry in entries
    )
    starts = [start for start, _ in spans] + [directory]
    return starts[0] < 0 or any(
        start + size > following for (start, size), following in zip(spans, starts[1:], strict=True)
    )


def _too_many(limits: Limits) -> str:
    return f"holds more than {limits.members:,} members; unpack it and give the folder"


def _too_large(limits: Limits) -> str:
    return f"larger than {limits.member_bytes / 2**30:g} GiB unpacked; unpack the archive and give the folder"


def _normal(name: str) -> str:
    return "/".join(part for part in name.split("/") if part not in ("", "."))


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", _normal(name)).casefold()


def _printable(name: str) -> str:
    return "".join(letter if letter.isprintable() else "?" for letter in name)
