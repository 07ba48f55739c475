"""Frames one by one: cells out of uncompressed pixel data, or codestreams out of encapsulated ones, without copies."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import BinaryIO

import numpy as np
import pydicom

from synthcohort.formats.dicom_codecs import Stream, decode
from synthcohort.formats.dicom_file import Parsed
from synthcohort.formats.dicom_layout import SUBSAMPLED, Layout
from synthcohort.formats.image import Unreadable

_ITEM, _DELIMITER = b"\xfe\xff\x00\xe0", b"\xfe\xff\xdd\xe0"
_BEGINNINGS = (b"\xff\xd8", b"\xff\x4f", b"\0\0\0\x0cjP")  # JPEG and JPEG-LS, JPEG 2000, JP2
MORE = "its pixel data hold more than its header says: the rest was left out"
Extent = tuple[int, int]  # offset in the file, and length


@dataclass
class Frames:
    """The frames of an object, to be read in any order. `notes` hold what was found on the way to them."""

    layout: Layout
    file: BinaryIO
    extents: Sequence[tuple[Extent, ...]]  # of compressed frames: the fragments of each
    notes: tuple[str, ...] = ()
    _memory: memoryview | None = field(default=None, repr=False)

    def read(self, number: int) -> tuple[np.ndarray, Stream | None]:
        """Frame `number` [rows, columns(, 3)]: cells as they lie in the file, or what its codestream holds."""
        if not self.layout.native:
            frame = b"".join(self._bytes(*extent) for extent in self.extents[number])
            return decode(frame, self.layout.syntax, self.layout.shape, self.layout.allocated)
        return self._cells(number), None

    def _bytes(self, offset: int, length: int) -> bytes | memoryview:
        if self._memory is not None:
            return self._memory[offset : offset + length]
        self.file.seek(offset)
        data = self.file.read(length)
        if len(data) < length:
            raise Unreadable("damaged: cut off inside its pixel data")
        return data

    def _cells(self, number: int) -> np.ndarray:
        of = self.layout
        first = number * of.frame_bits
        start, stop = first // 8, -(-(first + of.frame_bits) // 8)
        swap = of.big_endian and of.allocated <= 8 and of.element.vr == "OW"  # bytes lie in words (PS3.5 8.2)
        if swap:
            start, stop = start - start % 2, stop + stop % 2
        assert of.element.length is not None
        data = self._bytes(of.element.offset + start, min(stop, of.element.length) - start)
        if swap:
            words = np.frombuffer(bytes(data) + b"\0" * (len(data) % 2), ">u2").astype("<u2")
            data = words.tobytes()
        if of.allocated == 1:
            bits = np.unpackbits(np.frombuffer(data, np.uint8), bitorder="little")
            return bits[first - 8 * start :][: of.frame_bits].reshape(of.shape)
        order, kind = ">" if of.big_endian else "<", "f" if of.floating else "u"
        cells = np.frombuffer(data, f"{order}{kind}{of.allocated // 8}")
        cells = cells[first // of.allocated - 8 * start // of.allocated :][: of.frame_bits // of.allocated]
        if of.big_endian:
            cells = cells.astype(cells.dtype.newbyteorder("="))
        if of.photometric in SUBSAMPLED:
            return _spread(cells).reshape(of.shape)
        if of.samples > 1 and of.planar:
            return cells.reshape(of.samples, of.rows, of.columns).transpose(1, 2, 0)
        return cells.reshape(of.shape)


def _spread(cells: np.ndarray) -> np.ndarray:
    """Y1 Y2 B R, of two pixels, to Y1 B R Y2 B R. Source: DICOM PS3.3 C.7.6.3.1.2."""
    pairs = cells.reshape(-1, 4)
    return pairs[:, (0, 2, 3, 1, 2, 3)]


def frames_of(parsed: Parsed, of: Layout) -> Frames:
    """Finds the frames. Raises Unreadable when they are not all there."""
    memory = getattr(parsed.file, "getbuffer", None)
    frames = Frames(of, parsed.file, (), (), memory().toreadonly() if memory else None)
    if of.native:
        assert of.element.length is not None
        # One byte makes the length even; whole words are not so rare either.
        if 8 * of.element.length >= of.frame_bits * of.frames + max(of.frame_bits, 32):
            frames.notes = (MORE,)
        return frames
    fragments, table = _items(parsed.file, of.element.offset)
    frames.extents, more = _grouped(parsed.ds, frames, fragments, table)
    frames.notes = (MORE,) if more else ()
    return frames


def _items(file: BinaryIO, offset: int) -> tuple[list[Extent], Extent]:
    """The fragments of encapsulated pixel data, and the basic offset table before them. Source: DICOM PS3.5 A.4."""
    found: list[Extent] = []
    while True:
        file.seek(offset)
        head = file.read(8)
        if len(head) < 8:
            raise Unreadable("damaged: cut off inside its pixel data")
        if head[:4] == _DELIMITER:
            break
        length = int.from_bytes(head[4:], "little")
        if head[:4] != _ITEM:
            raise Unreadable("damaged: its compressed pixel data are no sequence of items")
        found.append((offset + 8, length))
        offset += 8 + length
    if len(found) < 2:
        raise Unreadable("damaged: no compressed frame in its pixel data")
    return found[1:], found[0]


def _grouped(
    ds: pydicom.Dataset, frames: Frames, fragments: list[Extent], table: Extent
) -> tuple[list[tuple[Extent, ...]], bool]:
    """Fragments of each frame, and whether there are more frames than the header says."""
    count = frames.layout.frames
    if count == 1 and not table[1]:
        return [tuple(fragments)], False
    if len(fragments) == count:
        return [(fragment,) for fragment in fragments], False
    extended, lengths = ds.get("ExtendedOffsetTable"), ds.get("ExtendedOffsetTableLengths")
    base = fragments[0][0] - 8
    starts: list[int] = []
    if extended and lengths and len(extended) == len(lengths):
        starts = np.frombuffer(extended, "<u8").tolist()
    elif table[1] and table[1] % 4 == 0:
        starts = np.frombuffer(frames._bytes(*table), "<u4").tolist()
    places = {offset - 8 - base: i for i, (offset, _) in enumerate(fragments)}
    firsts = [places.get(start, -1) for start in starts]
    if not firsts or firsts[0] != 0 or any(b <= a for a, b in pairwise(firsts)):
        # No table, or a wrong one: a codestream tells where it begins.
        heads = [bytes(frames._bytes(offset, min(length, 8))) for offset, length in fragments]
        firsts = [i for i, head in enumerate(heads) if head.startswith(_BEGINNINGS)]
    if len(firsts) < count or firsts[0] != 0:
        if count == 1:
            return [tuple(fragments)], False
        raise Unreadable("damaged: its compressed pixel data hold fewer frames than its header says")
    groups = [tuple(fragments[a:b]) for a, b in zip(firsts, [*firsts[1:], len(fragments)], strict=True)]
    return groups[:count], len(groups) > count
