"""What the reading pass finds, on disk as it goes: a part for each chunk of files, beside the pixels it speaks of.

A chunk is done when its part exists, so a killed pass goes on with the chunks that have none. Parts hold no name, id
or date of a patient: the file's number in the listing, keyed pseudonyms, words of the lists, checked numbers. Rows
that a source carries inside it (MedMNIST, parquet) are kept as they are until the pass is over; the folder is readable
by its owner alone and removed at the end.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from synthcohort.core.cohort_writer import save_shards
from synthcohort.core.files import atomic_path, digest_array
from synthcohort.ingest.decode import Decoded, Failed, Task, decode
from synthcohort.ingest.scan import SourceFile

SPAN = 100_000  # shard numbers that belong to one chunk
FLUSH_BYTES, FLUSH_IMAGES = 64 * 2**20, 1024

_TEXT, _NUMBER, _WHOLE = pa.string(), pa.float64(), pa.int64()
_TEXTS, _NUMBERS = pa.list_(_TEXT), pa.list_(_NUMBER)
SCHEMA = pa.schema(
    {
        "file": _WHOLE,  # position in the listing
        "part": _TEXT,
        "reason": _TEXT,  # why it was refused; null when it was taken
        "image_id": _TEXT, "content_digest": _TEXT, "source_digest": _TEXT, "pixels_digest": _TEXT,
        "frame": _WHOLE, "bits_stored": _WHOLE, "pixel_spacing_mm": _NUMBERS,
        "window_center": _NUMBER, "window_width": _NUMBER,
        "modality": _TEXT, "body_part": _TEXT, "view": _TEXT, "manufacturer": _TEXT, "laterality": _TEXT,
        "sex": _TEXT, "age": _NUMBER,
        "dropped_facts": _TEXTS, "notes": _TEXTS,
        "patient": _TEXT, "sop": _TEXT, "series": _TEXT, "study": _TEXT,
        "stack": _NUMBERS, "number": _WHOLE,
        "position_mm": _NUMBERS, "orientation": _NUMBERS,
        "row": _TEXT, "header": _TEXT,
        "dtype": _TEXT, "rows": _WHOLE, "columns": _WHOLE, "channels": _WHOLE, "nbytes": _WHOLE,
        "vector": pa.binary(), "thumbnail": pa.binary(),
        "shard": _WHOLE, "shard_row": _WHOLE,
    }
)  # fmt: skip


def part_path(folder: Path, number: int) -> Path:
    return folder / "parts" / f"{number:06d}.parquet"


def read_chunk(
    number: int,
    files: Sequence[tuple[int, SourceFile]],
    task: Task,
    folder: Path | None,
    refused: Mapping[int, str] | None = None,
) -> pa.Table | int:
    """Decodes a chunk of (position, file) pairs; writes pixels and the part into `folder` and returns the rows' number.

    Without a folder nothing is written and the part itself is returned. `refused` are files not to be touched, with
    the reason that the part records.
    """
    rows: list[dict[str, Any]] = []
    pending: list[tuple[np.ndarray, dict[str, Any]]] = []
    held, shard = 0, number * SPAN

    def flush() -> None:
        nonlocal held, shard
        if folder is not None and pending:
            places, shard = save_shards(folder, shard, [pixels for pixels, _ in pending])
            for (_, row), (own, position) in zip(pending, places, strict=True):
                row["shard"], row["shard_row"] = own, position
        pending.clear()
        held = 0

    for position, file in files:
        known = (refused or {}).get(position)
        for item in decode(file, task) if known is None else [Failed("", known)]:
            rows.append(_row(position, item))
            if isinstance(item, Decoded):
                pending.append((item.pixels, rows[-1]))
                held += item.pixels.nbytes
                if held >= FLUSH_BYTES or len(pending) >= FLUSH_IMAGES:
                    flush()
    flush()
    table = pa.Table.from_pylist(rows, schema=SCHEMA)
    if folder is None:
        return table
    with atomic_path(part_path(folder, number)) as temporary:
        pq.write_table(table, temporary)
    return int(table.num_rows)


def _row(position: int, item: Decoded | Failed) -> dict[str, Any]:
    if isinstance(item, Failed):
        return {"file": position, "part": item.part, "reason": item.reason}
    pixels, mark = item.pixels, item.fingerprint
    return {
        **item.facts,
        "file": position,
        "part": item.part,
        "pixels_digest": digest_array(pixels),
        "rows": pixels.shape[0],
        "columns": pixels.shape[1],
        "channels": 1 if pixels.ndim == 2 else pixels.shape[2],
        "vector": mark.vector.tobytes() if mark else None,
        "thumbnail": mark.thumbnail.tobytes() if mark else None,
    }


def read_parts(folder: Path, count: int) -> Iterator[pa.Table]:
    """Every part, in order, one in memory at a time; without the headers, which are large."""
    columns = [name for name in SCHEMA.names if name != "header"]
    for number in range(count):
        yield pq.read_table(part_path(folder, number), columns=columns)
