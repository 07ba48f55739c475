"""Synthetic images as parquet for those who train on them: PNG bytes in a column, labels beside, part after part.

The column `image` has the form {bytes, path} that Hugging Face `datasets` reads as an image. The schema's metadata
says that all of it is synthetic.
"""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from synthcohort.core.cohort import LabelColumn

MARK = {"synthetic": "YES", "note": "Computed by a generative model. Shows no patient. Not for diagnosis."}


def schema(labels: Sequence[LabelColumn]) -> pa.Schema:
    """image_id, image {bytes, path}, png_offset, caption, then the label columns."""
    image = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    columns = [("image_id", pa.string()), ("image", image), ("png_offset", pa.int64()), ("caption", pa.string())]
    return pa.schema([*columns, *((label.name, label.type) for label in labels)], metadata=MARK)


def encode(rows: Sequence[Mapping[str, Any]], labels: Sequence[LabelColumn]) -> bytes:
    """One part of the table: the same rows give the same bytes."""
    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(list(rows), schema=schema(labels)), buffer, compression="NONE")
    return buffer.getvalue()


def marking_problems(path: Path) -> list[str]:
    """What a synthetic part lacks of its marking; empty when all is there."""
    try:
        metadata = pq.read_schema(path).metadata or {}
    except Exception as error:  # a damaged file may fail anywhere in the reader
        return [f"cannot be read as parquet ({type(error).__name__})"]
    return [] if metadata.get(b"synthetic") == b"YES" else ["does not say in its schema that it is synthetic"]
