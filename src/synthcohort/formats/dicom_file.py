"""A DICOM file's bytes to its header and to the place of its pixel data; what is no DICOM file or cut off is refused.

The pixel data are never read here, so that a file of any size costs its header alone.
"""

import io
import logging
import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, BinaryIO

import pydicom
from pydicom.dataelem import RawDataElement
from pydicom.errors import InvalidDicomError
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from synthcohort.formats.image import Source, Unreadable

WHOLE = 2**28  # bytes; smaller files are read at once, larger ones frame by frame
INFLATED = 2**30  # most bytes that a deflated data set may become
UNDEFINED = 0xFFFFFFFF
HEAD = 144  # bytes from which a file is known
PIXEL_ELEMENTS = {0x7FE00008: "FloatPixelData", 0x7FE00009: "DoubleFloatPixelData", 0x7FE00010: "PixelData"}
_VRS = b"AE AS AT CS DA DS DT FD FL IS LO LT OB OD OF OL OV OW PN SH SL SQ SS ST SV TM UC UI UL UN UR US UT UV".split()
_DEFLATED, _PLAIN = (uid.encode() for uid in (DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian))
_LOGGERS = ("pydicom", "openjpeg", "pylibjpeg", "jpeg_ls")
_CUT_OFF = "damaged: cut off inside its header"
UNMARKED = "read without the mark of a DICOM file at its start"
UNDECLARED = "read as uncompressed, because its transfer syntax is not given"


@dataclass(frozen=True)
class PixelElement:
    """Where the pixel data lie. length: None when they are encapsulated, in items up to a delimiter."""

    keyword: str
    vr: str
    offset: int
    length: int | None


@dataclass(frozen=True)
class Parsed:
    """A file's header, which ends before the pixel data."""

    ds: pydicom.FileDataset
    file: BinaryIO
    size: int
    little_endian: bool
    syntax: UID | None  # None when it is neither given nor to be inferred
    element: PixelElement | None
    notes: tuple[str, ...]


@contextmanager
def opened(source: Source) -> Iterator[BinaryIO]:
    """A seekable file of all its bytes: in memory, save for a large file on disk. Raises Unreadable."""
    try:
        if source.data is None and source.path is not None and source.path.stat().st_size > WHOLE:
            with source.path.open("rb") as file:
                yield file
            return
    except OSError as error:
        raise Unreadable(f"cannot be read ({error.strerror})") from None
    yield io.BytesIO(source.read())


@contextmanager
def quiet() -> Iterator[None]:
    """No warning and no log of pydicom and its codecs: they quote header values."""
    silent = logging.root.manager.disable >= logging.CRITICAL  # as in the processes of ingest: levels are slow to set
    loggers = [] if silent else [logging.getLogger(name) for name in _LOGGERS]
    before = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL + 1)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, before, strict=True):
            logger.setLevel(level)


def looks_like_dicom(head: bytes) -> bool:
    """Whether a file begins as DICOM does: with its mark, or as a bare data set with group 0002 or 0008."""
    return head[128:132] == b"DICM" or _bare(head)


def _bare(head: bytes) -> bool:
    if len(head) < 12:
        return False
    group, element, length = struct.unpack("<HHL", head[:8])
    if head[:2] == b"\0\x08" and head[4:6] in _VRS:  # big endian
        return True
    if group not in (0x0002, 0x0008) or element > 0x0100:
        return False
    return head[4:6] in _VRS or (group == 0x0008 and length % 2 == 0 and length <= 256)


def parse(file: BinaryIO) -> Parsed:
    """Reads the header. Raises Unreadable."""
    head = file.read(HEAD)
    if not head:
        raise Unreadable("the file is empty")
    marked = head[128:132] == b"DICM"
    if not marked and not _bare(head):
        raise Unreadable("not a DICOM file: no DICM mark after the first 128 bytes")
    file.seek(0)
    file = _inflated(file) if marked else file
    size = file.seek(0, io.SEEK_END)
    file.seek(0)
    try:
        ds = pydicom.dcmread(file, stop_before_pixels=True, force=not marked)
    except InvalidDicomError:
        raise Unreadable("not a DICOM file: no DICM mark after the first 128 bytes") from None
    except Exception as error:
        raise Unreadable(f"damaged: its header cannot be parsed ({type(error).__name__})") from error
    little = bool(ds.original_encoding[1])
    element = _pixel_element(file, little)
    _check_whole(ds, file, size, element)
    if not marked and "SOPClassUID" not in ds and "Modality" not in ds and element is None:
        raise Unreadable("not a DICOM file: no DICM mark after the first 128 bytes")
    syntax = ds.file_meta.get("TransferSyntaxUID") or None
    notes: tuple[str, ...] = () if marked else (UNMARKED,)
    if syntax is None and element is not None and element.length is not None:
        notes += (UNDECLARED,)
        implicit = bool(ds.original_encoding[0])
        syntax = ImplicitVRLittleEndian if implicit else ExplicitVRLittleEndian if little else ExplicitVRBigEndian
    return Parsed(ds, file, size, little, syntax, element, notes)


def _inflated(file: BinaryIO) -> BinaryIO:
    """The same file uncompressed, where its data set is deflated (DICOM PS3.5 A.5), as long as a limit is kept."""
    head = file.read(1024)
    file.seek(0)
    at = head.find(_DEFLATED + b"\0" * (len(_DEFLATED) % 2))
    if at < 0 or head[132:138] != b"\x02\0\0\0UL":
        return file
    end = 144 + int.from_bytes(head[140:144], "little")
    if at > end:
        return file
    file.seek(end)
    inflate = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        body = inflate.decompress(file.read(), INFLATED)
    except zlib.error:
        raise Unreadable("damaged: its deflated data set cannot be inflated") from None
    if inflate.unconsumed_tail:
        raise Unreadable(f"inflates to more than {INFLATED} bytes")
    if not inflate.eof:
        raise Unreadable("damaged: cut off inside its deflated data set")
    file.seek(0)
    meta = file.read(end).replace(_DEFLATED, _PLAIN.ljust(len(_DEFLATED), b"\0"))
    return io.BytesIO(meta + body)


def _pixel_element(file: BinaryIO, little: bool) -> PixelElement | None:
    """The element that pydicom stopped before, or None at the end of the file."""
    start = file.tell()
    head = file.read(12)
    if len(head) < 8:
        return None
    order = "<" if little else ">"
    group, number = struct.unpack(f"{order}HH", head[:4])
    keyword = PIXEL_ELEMENTS.get(group << 16 | number)
    if keyword is None:
        return None
    explicit = head[4:6] in _VRS and len(head) == 12
    (length,) = struct.unpack(f"{order}L", head[8:12] if explicit else head[4:8])
    vr = head[4:6].decode() if explicit else "OW"
    return PixelElement(keyword, vr, start + (12 if explicit else 8), None if length == UNDEFINED else length)


def _check_whole(ds: pydicom.Dataset, file: BinaryIO, size: int, element: PixelElement | None) -> None:
    """Raises Unreadable when the file ends too early."""
    if element is not None:
        if element.length is not None and element.offset + element.length > size:
            raise Unreadable("damaged: cut off inside its pixel data")
        return
    tags = list(ds.keys())
    if not tags:
        raise Unreadable("damaged: no header after its mark")
    # Whatever is read as it stands, keeps the length that the file gives it.
    last: Any = ds.get_item(tags[-1])
    raw = last if isinstance(last, RawDataElement) else None
    if raw is not None and raw.length != UNDEFINED and len(raw.value or b"") < raw.length:
        raise Unreadable(_CUT_OFF)
