"""Lookup tables of DICOM: modality tables, and palettes, plain or segmented, with 8 or 16 bits an entry."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pydicom

from synthcohort.formats.dicom_header import get
from synthcohort.formats.image import Unreadable

_MOST = 2**16  # entries of a table
_DISCRETE, _LINEAR, _INDIRECT = 0, 1, 2
SPREAD = "palette expanded to RGB"
GRAYS = "a palette of grays became gray values"


@dataclass(frozen=True)
class Table:
    """Entry i stands for the stored value first + i; values below and above take the first and the last entry."""

    first: int
    values: np.ndarray  # uint8 or uint16: [entries], or [entries, 3] for a palette of colors
    bits: int

    def apply(self, stored: np.ndarray) -> np.ndarray:
        """Looks up stored values of 8 or 16 bits, signed or not."""
        unsigned = np.dtype(f"u{stored.dtype.itemsize}")
        every = np.arange(2 ** (8 * unsigned.itemsize), dtype=np.int64).astype(unsigned).view(stored.dtype)
        places = np.clip(every.astype(np.int64) - self.first, 0, len(self.values) - 1)
        return self.values[places][stored.view(unsigned)]


def modality_table(ds: pydicom.Dataset, signed: bool, little_endian: bool) -> Table | None:
    """The Modality LUT of a data set. Source: DICOM PS3.3 C.11.1. Raises Unreadable when it is damaged."""
    sequence = get(ds, "ModalityLUTSequence")
    if not sequence:
        return None
    item = sequence[0]
    count, first, bits = _descriptor(get(item, "LUTDescriptor"), signed, little_endian)
    values = _entries(get(item, "LUTData"), count, bits, little_endian)
    return Table(first, values, bits)


def palette(ds: pydicom.Dataset, signed: bool, little_endian: bool) -> tuple[Table, str]:
    """The palette of a PALETTE COLOR image, and what to note of it.

    Red, green and blue that are everywhere equal give a gray table. Where 16-bit entries hold 8 bits alone, in the
    upper byte or in both, they become 8-bit ones. Source: DICOM PS3.3 C.7.6.3.1.5 and C.7.9. Raises Unreadable.
    """
    tables = [_channel(ds, color, signed, little_endian) for color in ("Red", "Green", "Blue")]
    firsts, lengths = {table.first for table in tables}, {len(table.values) for table in tables}
    bits = {table.bits for table in tables}
    if len(firsts) > 1 or len(lengths) > 1 or len(bits) > 1:
        raise Unreadable("damaged: the tables of its palette do not match")
    values = np.stack([table.values for table in tables], axis=-1)
    (depth,) = bits
    if depth > 8:
        upper = values >> 8
        if (values & 0xFF == 0).all() or (values == upper * np.uint16(257)).all():
            values, depth = upper.astype(np.uint8), 8
    if (values == values[:, :1]).all():
        return Table(tables[0].first, np.ascontiguousarray(values[:, 0]), depth), GRAYS
    return Table(tables[0].first, values, depth), SPREAD


def _channel(ds: pydicom.Dataset, color: str, signed: bool, little_endian: bool) -> Table:
    count, first, bits = _descriptor(get(ds, f"{color}PaletteColorLookupTableDescriptor"), signed, little_endian)
    data = get(ds, f"{color}PaletteColorLookupTableData")
    if data is not None:
        return Table(first, _entries(data, count, bits, little_endian), bits)
    words = _numbers(get(ds, f"Segmented{color}PaletteColorLookupTableData"), 8 if bits == 8 else 16, little_endian)
    if words is None:
        raise Unreadable("damaged: the table of its palette is missing")
    values = expand(words.tolist(), count, 4 if bits == 8 else 2)
    if len(values) != count or max(values) >= 2**bits:
        raise Unreadable("damaged: a table of its palette has another size than its descriptor says")
    return Table(first, np.array(values, np.uint8 if bits == 8 else np.uint16), bits)


def _descriptor(value: Any, signed: bool, little_endian: bool) -> tuple[int, int, int]:
    """Number of entries, first stored value, bits of an entry."""
    words = _numbers(value, 16, little_endian)
    if words is None or len(words) != 3:
        raise Unreadable("damaged: a lookup table without a descriptor")
    count, first, bits = (int(word) for word in words)
    if not 1 <= bits <= 16:
        raise Unreadable(f"damaged: a lookup table of {bits} bits; allowed: 1 to 16")
    return count or _MOST, first - 2**16 if signed and first >= 2**15 else first, max(8, bits)


def _entries(value: Any, count: int, bits: int, little_endian: bool) -> np.ndarray:
    """The entries, one a word, or in a table of 8 bits also two a word (the first in its lower byte)."""
    words = _numbers(value, 16, little_endian)
    if words is not None and len(words) >= count:
        entries = words[:count]
        if bits <= 8 and int(entries.max()) < 256:
            return entries.astype(np.uint8)
        return entries.astype(np.uint16)
    if words is None or bits > 8 or 2 * len(words) < count:
        raise Unreadable("damaged: a lookup table has another length than its descriptor says")
    return words.astype("<u2").view(np.uint8)[:count].copy()


def _numbers(value: Any, bits: int, little_endian: bool) -> np.ndarray | None:
    """The numbers of an element, which pydicom gives as bytes, as one number or as many; None when there are none."""
    if value is None or isinstance(value, str):
        return None
    if isinstance(value, (bytes, bytearray)):
        if bits == 8:
            return np.frombuffer(value, np.uint8)
        order = "<" if little_endian else ">"
        return np.frombuffer(value[: len(value) // 2 * 2], f"{order}u2").astype(np.uint16)
    many = [value] if isinstance(value, int) else list(value)
    words = (np.array(many, np.int64) & 0xFFFF).astype("<u2")
    return words.view(np.uint8) if bits == 8 else words


def expand(words: list[int], most: int, offset_words: int) -> list[int]:
    """A segmented palette's values. `offset_words` hold the byte offset of an indirect segment: 2, or 4 of 8 bits.

    Source: DICOM PS3.3 C.7.9.2. Raises Unreadable when it is damaged or makes more than `most` values.
    """
    values: list[int] = []
    width = 1 if offset_words == 4 else 2

    def run(at: int, segments: int | None, direct: bool) -> None:
        while at + 1 < len(words) and segments != 0:
            kind, length = words[at], words[at + 1]
            at += 2
            if kind == _DISCRETE:
                values.extend(words[at : at + length])
                at += length
            elif kind == _LINEAR and values and at < len(words):
                start, stop = values[-1], words[at]
                values.extend(int(v) for v in np.rint(np.linspace(start, stop, length + 1)[1:]))
                at += 1
            elif kind == _INDIRECT and direct and at + offset_words <= len(words):
                parts = words[at : at + offset_words]
                offset = sum(part << (8 * width * i) for i, part in enumerate(parts))
                run(offset // width, length, False)
                at += offset_words
            else:
                raise Unreadable("damaged: a segment of its palette is of an unknown kind")
            if len(values) > most:
                raise Unreadable("damaged: its palette holds more than its descriptor says")
            segments = None if segments is None else segments - 1

    run(0, None, True)
    return values
