"""Looks for very many strings in every byte of files, in any case of letters and in any of the forms that text takes.

A string is looked for as UTF-8, UTF-16, Latin-1, ISO 2022, Shift JIS and GB 18030, as JSON escapes, and as hexadecimal
and base64 of all these; a date also as it is written elsewhere. Files are searched as they are and unpacked.
"""

import base64
import gzip
import json
import re
import zipfile
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq


def forms(text: str) -> Iterator[bytes]:
    """All the ways that a string is looked for, lower case where the bytes have one."""
    plain = {text.encode(), text.lower().encode(), text.upper().encode(), text.casefold().encode()}
    for codec in ("latin-1", "iso2022_jp", "shift_jis", "gb18030", "utf-16-le", "utf-16-be"):
        try:
            plain.add(text.encode(codec))
        except UnicodeEncodeError:
            continue
    plain.add(json.dumps(text)[1:-1].encode())
    for data in tuple(plain):
        plain.add(data.hex().encode())
        plain.update(_base64(data))
    if re.fullmatch(r"(19|20)[0-9]{6}", text):
        year, month, day = text[:4], text[4:6], text[6:]
        plain.update(s.encode() for s in (f"{year}-{month}-{day}", f"{day}.{month}.{year}", f"{month}/{day}/{year}"))
    return (data.lower() for data in plain if len(data) >= 8)


def _base64(data: bytes) -> Iterator[bytes]:
    """Base64 of data that begins anywhere in a longer piece: the characters that do not depend on what is around."""
    for shift in range(3):
        text = base64.b64encode(b"\0" * shift + data)
        first, last = -(-8 * shift // 6), (8 * (shift + len(data))) // 6
        yield text[first:last]


class Needles:
    """Finds any of very many byte strings of at least 8 bytes, by their first 8."""

    def __init__(self, needles: Iterable[bytes]):
        self.by_start: dict[int, set[bytes]] = {}
        for needle in needles:
            self.by_start.setdefault(int.from_bytes(needle[:8], "little"), set()).add(needle)
        self.starts = np.array(sorted(self.by_start), np.uint64)
        self.marks = np.zeros(2**24, bool)
        self.marks[self._mark(self.starts)] = True

    def __len__(self) -> int:
        return sum(map(len, self.by_start.values()))

    @staticmethod
    def _mark(starts: np.ndarray) -> np.ndarray:
        return (starts * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(40)

    def found(self, data: bytes) -> set[bytes]:
        data = data.lower()
        hits: set[bytes] = set()
        for begin in range(0, len(data), 2**20):
            part = np.frombuffer(data[begin : begin + 2**20 + 7], np.uint8)
            if len(part) < 8:
                continue
            windows = np.ascontiguousarray(np.lib.stride_tricks.sliding_window_view(part, 8)).view("<u8")[:, 0]
            for at in np.flatnonzero(self.marks[self._mark(windows)]):
                for needle in self.by_start.get(int(windows[at]), ()):
                    if data.startswith(needle, begin + int(at)):
                        hits.add(needle)
        return hits


def without(data: bytes, known: set[bytes]) -> bytes:
    """Leaves out UIDs of ours; a UID that we did not make stays and is searched."""
    return re.sub(rb"2\.25\.[0-9]+", lambda match: b"(uid)" if match[0] in known else match[0], data)


def views(path: Path) -> Iterator[bytes]:
    """A file's bytes, and what they hold when unpacked."""
    yield path.read_bytes()
    if path.suffix == ".parquet":
        sink = pa.BufferOutputStream()
        table = pq.read_table(path)
        with pa.ipc.new_stream(sink, table.schema) as writer:
            writer.write_table(table)
        yield sink.getvalue().to_pybytes()
    elif path.suffix in (".npz", ".zip"):
        with zipfile.ZipFile(path) as archive:
            yield from map(archive.read, archive.namelist())
    elif path.suffix == ".gz":
        yield gzip.decompress(path.read_bytes())


def search_folder(
    folder: Path, needles: Needles, known: set[bytes], skip: Collection[str] = ()
) -> tuple[dict[str, list[str]], int]:
    """Hits by file, and the number of bytes looked at; names of files and folders count, files in `skip` do not."""
    hits, size = {}, 0
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        found = needles.found(name.encode())
        if path.is_file() and name not in skip:
            for data in views(path):
                size += len(data)
                found |= needles.found(without(data, known))
        if found:
            hits[name] = sorted(map(repr, found))
    return hits, size
