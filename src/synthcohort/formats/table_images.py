"""Parquet files that hold images as bytes, with the other columns as their table: what Hugging Face data sets are.

Rows are streamed in small batches. Each image goes through the reader of its own format. Class labels that the file
keeps as numbers, with the names beside them, become their names.
"""

import json
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from synthcohort.formats.image import Image, ReadOptions, Refusal, Source, Unreadable

WANTED = "a column of image bytes, as in image = {bytes, path}"
BATCH_ROWS = 16
MOST_CELL_CHARACTERS, MOST_ROWS = 10_000, 2**26
MOST_RATIO, RATIO_FROM_BYTES = 200, 50 * 2**20
_USUAL = ("image", "images", "img", "picture", "scan", "image_bytes", "bytes", "content", "dicom")
_SPLIT = re.compile(r"(train|validation|valid|val|test)(?=$|[-_.])")
_READ = ("dicom", "raster")  # what a cell may hold: images, and nothing that holds tables or archives again


def read(source: Source | Path | bytes, options: ReadOptions = ReadOptions()) -> Iterator[Image | Refusal]:  # noqa: B008
    """The images of a parquet file, row by row; `row` is what the other columns say, as text.

    Where no column says the split and the file's name does, as in train-00000-of-00002.parquet, it is taken from there.
    Raises Unreadable when the file is damaged or no column holds images.
    """
    source = Source.of(source)
    try:
        where = pa.BufferReader(source.data) if source.data is not None else pa.memory_map(str(source.path))
        with warnings.catch_warnings(), where, pq.ParquetFile(where, pre_buffer=False) as file:
            warnings.simplefilter("ignore")
            _check(file.metadata)
            yield from _rows(source, file, options)
    except Unreadable:
        raise
    except OSError as error:
        raise Unreadable("damaged, cut off, or no parquet file") from error
    except Exception as error:  # a damaged file may fail anywhere in the decoder, with any exception
        raise Unreadable("damaged or cut off: it cannot be read as parquet") from error


def _check(metadata: pq.FileMetaData) -> None:
    """Refuses what would grow out of proportion."""
    if metadata.num_rows > MOST_ROWS:
        raise Unreadable(f"has {metadata.num_rows} rows; at most {MOST_ROWS} are read")
    for i in range(metadata.num_row_groups):
        group = metadata.row_group(i)
        packed = sum(max(0, group.column(j).total_compressed_size) for j in range(group.num_columns))
        if group.total_byte_size > RATIO_FROM_BYTES and group.total_byte_size > MOST_RATIO * packed:
            raise Unreadable("grows out of proportion when unpacked, as a zip bomb does")


def _rows(source: Source, file: pq.ParquetFile, options: ReadOptions) -> Iterator[Image | Refusal]:
    column = _image_column(file.schema_arrow)
    names = _class_names(file.schema_arrow)
    texts = [field.name for field in file.schema_arrow if field.name != column and _is_text(field.type)]
    split = {} if "split" in texts else _split_of(source.name)
    number, frame = 0, 0
    for batch in file.iter_batches(BATCH_ROWS, columns=[column, *texts], use_threads=False):
        cells = batch.column(column)
        others = {name: batch.column(name) for name in texts}
        for i in range(batch.num_rows):
            row = {name: _text(cell[i].as_py(), names.get(name)) for name, cell in others.items()} | split
            for item in _cell(cells[i].as_py(), options):
                part = f"row {number} {item.part}".strip()
                if isinstance(item, Refusal):
                    yield Refusal(part, item.reason)
                else:
                    yield replace(item, part=part, frame=frame, row={**item.row, **row})
                frame += 1
            number += 1


def _image_column(schema: pa.Schema) -> str:
    """The column of images: the only one that holds bytes, or the one with the usual name."""
    holding = [field.name for field in schema if _holds_bytes(field.type)]
    usual = [name for name in _USUAL if name in (held.casefold() for held in holding)]
    if len(holding) == 1:
        return str(holding[0])
    if usual:
        return next(str(name) for name in holding if name.casefold() == usual[0])
    names = ", ".join(schema.names[:10])
    found = "several columns hold bytes" if holding else "no column holds bytes"
    raise Unreadable(f"{found} (columns: {names}); wanted: {WANTED}")


def _holds_bytes(kind: pa.DataType) -> bool:
    if pa.types.is_struct(kind):
        return kind.get_field_index("bytes") >= 0 and _holds_bytes(kind.field("bytes").type)
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_binary_view(kind))


def _cell(value: Any, options: ReadOptions) -> Iterator[Image | Refusal]:
    """The images of one cell; what makes a cell unreadable refuses the cell alone."""
    from synthcohort.formats import FORMATS, format_of  # here, because the list of formats names this module

    data = value.get("bytes") if isinstance(value, Mapping) else value
    if not data:
        outside = isinstance(value, Mapping) and value.get("path")
        yield Refusal("", "its image lies in another file" if outside else "the row holds no image")
        return
    kind = format_of("", data[:132])
    if kind not in _READ:
        yield Refusal("", "its bytes are no image that is read")
        return
    try:
        yield from FORMATS[kind if kind == "dicom" else "flat"](Source("cell", data=data), options)
    except Unreadable as refusal:
        yield Refusal("", str(refusal))


def _is_text(kind: pa.DataType) -> bool:
    """Whether a column's values can be written in a cell of a table; a list becomes its items, parted by `|`."""
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        return not pa.types.is_nested(kind.value_type) and _is_text(kind.value_type)
    if pa.types.is_dictionary(kind):
        return _is_text(kind.value_type)
    return not (pa.types.is_nested(kind) or _holds_bytes(kind) or pa.types.is_fixed_size_binary(kind))


def _text(value: Any, names: Sequence[str] | None) -> str:
    if value is None:
        return ""
    if isinstance(value, list):
        return "|".join(filter(None, (_text(item, names) for item in value)))
    if names is not None and isinstance(value, int) and 0 <= value < len(names):
        return str(names[value])
    if isinstance(value, bool):
        return str(int(value))
    if isinstance(value, float):
        return "" if value != value else str(int(value)) if value.is_integer() else repr(value)
    return str(value).strip()[:MOST_CELL_CHARACTERS]


def _class_names(schema: pa.Schema) -> dict[str, list[str]]:
    """Names of the classes that columns hold as numbers. Source: the `huggingface` key of the file's metadata."""
    try:
        features = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
        found = {}
        for column, feature in features.items():
            inner = feature.get("feature", feature) if isinstance(feature, Mapping) else {}
            names = inner.get("names") if isinstance(inner, Mapping) else None
            if isinstance(names, list):
                found[column] = [str(name) for name in names]
        return found
    except (KeyError, ValueError, TypeError, AttributeError):
        return {}


def _split_of(name: str) -> dict[str, str]:
    path = PurePosixPath(name)
    for word in (path.name, path.parent.name):
        match = _SPLIT.match(word.casefold())
        if match:
            return {"split": match[1]}
    return {}
