"""Writing a cohort so that a kill at any moment loses at most the images since the last flush, and never shows half."""

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from synthcohort.core.cohort import (
    FORMAT,
    ROLES,
    VERSION,
    Cohort,
    ContentDigest,
    LabelColumn,
    partial_path,
    record_schema,
    shard_name,
)
from synthcohort.core.errors import ArtifactError, Problem
from synthcohort.core.files import (
    atomic_path,
    check_writable,
    digest_array,
    digest_file,
    read_artifact,
    read_json,
    remove,
    write_artifact,
    write_atomic,
    write_json,
)

FLUSH_BYTES, FLUSH_IMAGES = 64 * 2**20, 1024
MARKER = "partial.json"
DTYPES = ("uint8", "uint16", "int16")


class CohortWriter:
    """Collects images and records in `<path>.partial/` and renames it to `path` when finished.

    An unfinished folder with the same fingerprint is continued: `done` holds the image ids that are safely stored.
    The layout depends only on the order of `add` and `flush`, so an interrupted and an uninterrupted write are equal.
    """

    def __init__(
        self,
        path: Path,
        name: str,
        origin: str,
        labels: Sequence[LabelColumn],
        provenance: Mapping[str, Any],
        fingerprint: str,
    ):
        self.path, self.partial = Path(path), partial_path(Path(path))
        if self.path.exists():
            raise ArtifactError(Problem(f"cohort {path}", "already exists", remedy="choose another --out or remove it"))
        check_writable(self.path)
        self.labels = tuple(labels)
        self.schema = record_schema(self.labels)
        self._info = {
            "name": name,
            "origin": origin,
            "labels": [{"name": x.name, "kind": x.kind, "values": list(x.values)} for x in self.labels],
            "provenance": dict(provenance),
        }
        self._pending: list[tuple[np.ndarray, dict[str, Any]]] = []
        self._pending_bytes = 0
        self.done: set[str] = set()
        self._parts = 0
        self._shards = 0
        self._open(fingerprint)

    def _open(self, fingerprint: str) -> None:
        open_partial(self.partial, fingerprint, "another configuration")
        while (part := self._part_path(self._parts)).exists():
            table = pq.read_table(part, columns=["image_id", "shard"])
            self.done.update(table.column("image_id").to_pylist())
            self._shards = max(table.column("shard").to_pylist(), default=self._shards - 1) + 1
            self._parts += 1

    def _part_path(self, number: int) -> Path:
        return self.partial / "parts" / f"{number:05d}.parquet"

    def add(self, image: np.ndarray, record: Mapping[str, Any]) -> None:
        """Adds one image [rows, columns] or [rows, columns, 3] of uint8, uint16 or int16 with its record.

        The caller gives standard and label columns; sizes, the pixel digest and the place are filled in here, whatever
        a record of another cohort says of them.
        Raises ValueError for anything a stage must not do: unknown columns, a second image of the same id.
        """
        if image.dtype.name not in DTYPES or image.ndim not in (2, 3) or (image.ndim == 3 and image.shape[2] != 3):
            raise ValueError(f"image of dtype {image.dtype} and shape {image.shape}")
        unknown = set(record) - set(self.schema.names)
        if unknown:
            raise ValueError(f"unknown columns {sorted(unknown)}")
        if record.get("split") not in (None, *ROLES):
            raise ValueError(f"split {record.get('split')!r}")
        image_id = record["image_id"]
        if image_id in self.done:
            raise ValueError(f"image {image_id} is already stored")
        image = np.ascontiguousarray(image)
        full = {
            **record,
            "rows": image.shape[0],
            "columns": image.shape[1],
            "channels": 1 if image.ndim == 2 else image.shape[2],
            "pixels_digest": digest_array(image),
            "derived_from_real": bool(record.get("derived_from_real", False)),
        }
        self.done.add(image_id)
        self._pending.append((image, full))
        self._pending_bytes += image.nbytes
        if self._pending_bytes >= FLUSH_BYTES or len(self._pending) >= FLUSH_IMAGES:
            self.flush()

    def flush(self) -> None:
        """Makes what was added durable: the shards first, then the part of the records that makes them count."""
        if not self._pending:
            return
        places, self._shards = save_shards(self.partial, self._shards, [image for image, _ in self._pending])
        rows = [
            {**record, "shard": shard, "shard_row": row}
            for (_, record), (shard, row) in zip(self._pending, places, strict=True)
        ]
        with atomic_path(self._part_path(self._parts)) as temporary:
            pq.write_table(pa.Table.from_pylist(rows, schema=self.schema), temporary)
        self._parts += 1
        self._pending.clear()
        self._pending_bytes = 0

    def finish(self, extra_files: Mapping[str, str] | None = None, **extra_info: Any) -> Cohort:
        """Merges the parts (sorted by image id), writes digests and cohort.json, and renames the folder into place."""
        self.flush()
        parts = [pq.read_table(self._part_path(i)) for i in range(self._parts)]
        table = pa.concat_tables(parts) if parts else self.schema.empty_table()
        info = {**self._info, **extra_info}
        return publish(self.partial, self.path, info, table, range(self._shards), extra_files)


def open_partial(partial: Path, fingerprint: str, other: str) -> None:
    """Makes the folder of an unfinished cohort, or goes on with the one of this fingerprint.

    Raises ArtifactError when the folder is that of `other` work.
    """
    marker = partial / MARKER
    if marker.exists():
        if read_json(marker)["fingerprint"] != fingerprint:
            raise ArtifactError(
                Problem(
                    f"{partial}",
                    f"holds an unfinished cohort of {other}",
                    remedy="finish it with the configuration it was begun with, or remove it",
                )
            )
        return
    remove(partial)
    for folder in ("images", "parts"):
        (partial / folder).mkdir(parents=True)
    write_json(marker, {"fingerprint": fingerprint})


def save_shards(partial: Path, first: int, images: Sequence[np.ndarray]) -> tuple[list[tuple[int, int]], int]:
    """Writes images into shards of one shape and dtype each, numbered from `first`.

    Returns each image's (shard, row) and the next free number.
    """
    groups: dict[tuple[Any, ...], list[int]] = {}
    for position, image in enumerate(images):
        groups.setdefault((image.shape, image.dtype.name), []).append(position)
    places = [(0, 0)] * len(images)
    for number, positions in enumerate(groups.values(), first):
        with atomic_path(partial / "images" / shard_name(number)) as temporary, open(temporary, "wb") as file:
            np.save(file, np.stack([images[i] for i in positions]), allow_pickle=False)
        for row, position in enumerate(positions):
            places[position] = (number, row)
    return places, first + len(groups)


@dataclass(frozen=True)
class Records:
    """What records.parquet holds: how many, and the digest of the content."""

    count: int
    digest: str


def write_records(partial: Path, info: Mapping[str, Any], schema: pa.Schema, batches: Iterable[pa.Table]) -> Records:
    """Writes records.parquet from batches in the order of the image ids; one batch is in memory at a time."""
    count, content = 0, ContentDigest(info)
    with atomic_path(partial / "records.parquet") as temporary, pq.ParquetWriter(temporary, schema) as writer:
        for batch in batches:
            writer.write_table(batch)
            content.update(batch)
            count += batch.num_rows
    return Records(count, content.digest())


def publish(
    partial: Path,
    path: Path,
    info: Mapping[str, Any],
    records: pa.Table | Records,
    shards: Sequence[int],
    extra_files: Mapping[str, str | bytes] | None = None,
    private_files: Mapping[str, str | bytes] | None = None,
) -> Cohort:
    """Does as `publish_files`, and opens the cohort."""
    publish_files(partial, path, info, records, shards, extra_files, private_files)
    return Cohort.open(path)


def publish_files(
    partial: Path,
    path: Path,
    info: Mapping[str, Any],
    records: pa.Table | Records,
    shards: Sequence[int],
    extra_files: Mapping[str, str | bytes] | None = None,
    private_files: Mapping[str, str | bytes] | None = None,
) -> None:
    """Turns a partial folder with its shards into the cohort `path`: records, digests, cohort.json, then the rename.

    `info` holds name, origin, labels, provenance and whatever else cohort.json is to say; `records` may be written
    already. `private_files` are the owner's alone: they are named in cohort.json without a digest, and may be taken
    away.
    """
    if not isinstance(records, Records):
        records = write_records(partial, info, records.schema, [records.sort_by("image_id")])
    names = ["records.parquet", *(f"images/{shard_name(number)}" for number in shards)]
    for name, data in {**(private_files or {}), **(extra_files or {})}.items():
        write_atomic(partial / name, data)
    names += list(extra_files or {})
    content = {
        **info,
        "images": records.count,
        "digest": records.digest,
        "files": {name: digest_file(partial / name) for name in names},
        "private": sorted(private_files or {}),
    }
    write_artifact(partial / "cohort.json", FORMAT, VERSION, content)
    finish_publishing(partial, path)


def finish_publishing(partial: Path, path: Path) -> None:
    """From the moment that cohort.json is there, only leftovers go and the folder gets its name; may be repeated."""
    info = read_artifact(partial / "cohort.json", FORMAT, VERSION)
    kept = {*info["files"], *info["private"], "cohort.json"}
    leftovers = [file for file in partial.rglob("*") if file.is_file()]
    for file in sorted(leftovers, key=lambda file: file.name == MARKER):  # the marker last: without it nothing goes on
        if file.relative_to(partial).as_posix() not in kept:
            file.unlink()
    remove(partial / "parts")
    os.replace(partial, path)
