"""What the reading pass found, ready for decisions: the images taken, in the listing's order, and what was refused."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from synthcohort.imaging.fingerprint import SIDE
from synthcohort.ingest.journal import SCHEMA

BULKY = ("vector", "thumbnail", "header")
BATCH = 1000


@dataclass(frozen=True)
class Refused:
    """A refused image by its file's name and its part of the file (empty: the whole file), and the reason."""

    name: str
    part: str
    reason: str


@dataclass(frozen=True)
class Survey:
    """The journal of a reading pass. Lists of values are in the order of `table`, which is that of the listing."""

    table: pa.Table  # of the images taken, without the bulky columns
    names: Sequence[str]  # file names by position in the listing; raw, in memory only
    refused: tuple[Refused, ...]
    fingerprints: tuple[np.ndarray, np.ndarray] | None = None  # vectors [N, D] float16, thumbnails [N, S, S] uint8
    _columns: dict[str, list[Any]] = field(default_factory=dict, compare=False, repr=False)

    def __len__(self) -> int:
        return int(self.table.num_rows)

    def column(self, name: str) -> list[Any]:
        if name not in self._columns:
            self._columns[name] = self.table.column(name).to_pylist()
        return self._columns[name]

    @cached_property
    def files(self) -> list[str]:
        """The file each image came from."""
        return [self.names[i] for i in self.column("file")]

    def name(self, i: int) -> str:
        """One image's own name: its file and, where that holds several, which of them."""
        part = self.column("part")[i]
        return f"{self.files[i]}\0{part}" if part else self.files[i]

    def rows(self) -> Iterator[dict[str, Any]]:
        """The journal's rows as mappings, a batch in memory at a time."""
        for start in range(0, len(self), BATCH):
            yield from self.table.slice(start, BATCH).to_pylist()

    def without(self, refused: dict[int, str]) -> "Survey":
        """The survey after refusing more images, by position and reason."""
        if not refused:
            return self
        keep = np.array([i not in refused for i in range(len(self))])
        parts = self.column("part")
        more = tuple(Refused(self.files[i], parts[i], reason) for i, reason in sorted(refused.items()))
        marks = self.fingerprints and (self.fingerprints[0][keep], self.fingerprints[1][keep])
        return Survey(self.table.filter(pa.array(keep)), self.names, _sorted(self.refused + more), marks)

    def reasons(self) -> dict[str, int]:
        """How often each reason for refusing was given, most frequent first."""
        counts = Counter(item.reason for item in self.refused)
        return dict(sorted(counts.items(), key=lambda pair: (-pair[1], pair[0])))


def survey(parts: Iterable[pa.Table], names: Sequence[str], refused: Sequence[Refused]) -> Survey:
    """Joins the parts of a pass; `refused` are files that were not read at all."""
    light, failed = [], list(refused)
    pairs: list[tuple[np.ndarray | None, np.ndarray | None]] = []
    for part in parts:
        taken = part.filter(pc.is_null(part.column("reason")))
        bad = part.filter(pc.is_valid(part.column("reason"))).select(["file", "part", "reason"])
        failed += [Refused(names[row["file"]], row["part"] or "", row["reason"]) for row in bad.to_pylist()]
        pairs.append((_bytes(taken.column("vector")), _bytes(taken.column("thumbnail"))))
        light.append(taken.drop_columns([name for name in BULKY if name in taken.column_names]))
    empty = pa.schema([item for item in SCHEMA if item.name not in BULKY]).empty_table()
    table = pa.concat_tables(light) if light else empty
    order = np.argsort(np.asarray(table.column("file")), kind="stable")
    marks = None
    own = [(v, t) for v, t in pairs if v is not None and t is not None and len(v)]
    if len(order) and sum(len(v) for v, _ in own) == len(order):
        vectors, thumbnails = np.concatenate([v for v, _ in own])[order], np.concatenate([t for _, t in own])[order]
        marks = vectors.view(np.float16), thumbnails.reshape(len(order), SIDE, SIDE)
    return Survey(table.take(pa.array(order)).combine_chunks(), names, _sorted(failed), marks)


def _bytes(column: pa.ChunkedArray) -> np.ndarray | None:
    """Values of one length as [N, bytes] uint8; None when some are absent."""
    if column.null_count:
        return None
    values = column.to_pylist()
    return np.frombuffer(b"".join(values), np.uint8).reshape(len(values), -1) if values else np.zeros((0, 0), np.uint8)


def _sorted(refused: Iterable[Refused]) -> tuple[Refused, ...]:
    return tuple(sorted(refused, key=lambda item: (item.name, item.part, item.reason)))
