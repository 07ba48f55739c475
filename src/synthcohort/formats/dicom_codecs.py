"""Compressed frames to integers: what a codestream says of itself, checked against the header, and one codec for each.

A codestream's own size is checked before any codec sees it, because codecs allocate what it asks for. No codec is
given a chance to convert colors; that is done once for all of them, in `dicom_pixels`.
"""

import io
import os
import re
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import PIL.Image
from pydicom.encaps import encapsulate
from pydicom.pixels import get_decoder
from pydicom.uid import (
    HTJ2K,
    JPEG2000,
    UID,
    HTJ2KLossless,
    HTJ2KLosslessRPCL,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    RLELossless,
)

from synthcohort.formats.image import Unreadable

BOMB_BYTES, BOMB_RATIO = 2**27, 2000  # a frame that becomes larger than this, and by more than this factor
_TAIL = 1024  # bytes in which the end marker of a JPEG stream must lie
_FRAME_HEADERS = {*range(0xC0, 0xD0), 0xF7} - {0xC4, 0xC8, 0xCC}
_SEQUENTIAL, _LOSSLESS, _LS = {0xC0, 0xC1, 0xC2}, {0xC3}, {0xF7}
_MAX_TILES = 65535
_NEXT_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
_WITHOUT_BODY = {0x00, 0x01, *range(0xD0, 0xD9)}
# What decoding needs: frame headers, Huffman and quantization tables, restart intervals and scans.
_NEEDED = {0xC0, 0xC1, 0xC3, 0xC4, 0xDA, 0xDB, 0xDD}
OTHER_COLORS = "colors taken as its compressed stream says, not as its header does"


@dataclass(frozen=True)
class Stream:
    """What a codestream says of itself."""

    kind: int  # marker of the JPEG process; 0 otherwise
    rows: int
    columns: int
    samples: int
    bits: int
    signed: bool = False
    color: str = ""  # rgb, ybr, or empty where it does not say
    ybr_guess: bool = True  # whether libjpeg takes its components for YBR


def decode(frame: bytes, syntax: UID, shape: tuple[int, ...], bits_allocated: int) -> tuple[np.ndarray, Stream | None]:
    """One compressed frame as it was encoded: [rows, columns] or [rows, columns, 3]. Raises Unreadable.

    RLE has no codestream and gives cells, as uncompressed data do.
    """
    size = int(np.prod(shape)) * max(1, bits_allocated // 8)
    if size > BOMB_BYTES and size > BOMB_RATIO * len(frame):
        raise Unreadable("its few compressed bytes claim to hold a very large image")
    inspect, decoder = CODECS[syntax]
    samples = shape[2] if len(shape) == 3 else 1
    if inspect is None:
        stream = Stream(0, shape[0], shape[1], samples, bits_allocated)
        if size > 64 * len(frame):  # two bytes of RLE make 128 at most
            raise Unreadable("damaged: its compressed frame is too short")
    else:
        stream = inspect(frame)
        if (stream.rows, stream.columns, stream.samples) != (shape[0], shape[1], samples):
            raise Unreadable("damaged: its compressed frame has another size than its header says")
        if stream.bits > 16:
            raise Unreadable(f"compressed samples of {stream.bits} bits are not supported")
    try:
        return decoder(frame, stream).reshape(shape), stream if inspect else None
    except (Unreadable, MemoryError):
        raise
    except Exception as error:  # whatever a codec raises
        raise Unreadable(f"damaged: its pixel data cannot be decoded as {syntax.name}") from error


def segments(frame: bytes) -> Iterator[tuple[int, bytes, bytes]]:
    """The segments of a JPEG stream up to its end: marker, body, and the entropy-coded data that follow.

    Source: ITU-T T.81 annex B. Raises Unreadable when one does not follow upon the other.
    """
    if frame[:2] != b"\xff\xd8":
        raise Unreadable("damaged: its compressed frame does not begin as JPEG does")
    at = 2
    while at + 4 <= len(frame) and frame[at] == 0xFF:
        marker = frame[at + 1]
        if marker == 0xFF:  # fill
            at += 1
            continue
        if marker == 0xD9:
            return
        end = at + 2 + int.from_bytes(frame[at + 2 : at + 4], "big")
        body, data = frame[at + 4 : end], b""
        if marker == 0xDA:
            found = _NEXT_MARKER.search(frame, end)
            data = frame[end : found.start() if found else len(frame)]
            end += len(data)
        if end > len(frame) or marker in _WITHOUT_BODY or end < at + 4:
            break
        yield marker, body, data
        at = end
    if frame[at : at + 2] != b"\xff\xd9":
        raise Unreadable("damaged: its compressed frame is cut off or garbled")


def inspect_jpeg(frame: bytes) -> Stream:
    """Reads the segments before the first scan. Source: ITU-T T.81 B.2.2, T.87 C.2, T.872 6.5.3 (Adobe's)."""
    if frame.rfind(b"\xff\xd9", -_TAIL) < 0:
        raise Unreadable("damaged: its compressed frame is cut off or garbled")
    jfif, adobe = False, -1
    found: tuple[int, ...] = ()
    ids = b""
    for marker, body, _ in segments(frame):
        if marker == 0xDA:
            break
        if marker in _FRAME_HEADERS and len(body) >= 6 and not found:
            found = (marker, *struct.unpack(">BHHB", body[:6]))
            ids = body[6::3]
        elif marker == 0xE0 and body.startswith(b"JFIF"):
            jfif = True
        elif marker == 0xEE and body.startswith(b"Adobe") and len(body) >= 12:
            adobe = body[11]
    if not found:
        raise Unreadable("damaged: its compressed frame has no frame header")
    kind, bits, rows, columns, samples = found
    named_rgb = ids in (b"RGB", b"rgb")
    color = "ybr" if jfif or adobe == 1 else "rgb" if adobe == 0 or named_rgb else ""
    return Stream(kind, rows, columns, samples, bits, False, color if samples == 3 else "", _libjpeg(jfif, adobe, ids))


def _libjpeg(jfif: bool, adobe: int, ids: bytes) -> bool:
    """Whether libjpeg takes three components for YBR (its jdapimin.c)."""
    return jfif or (adobe != 0 if adobe >= 0 else ids != b"RGB")


def inspect_jpeg2000(frame: bytes) -> Stream:
    """Reads the SIZ marker. Source: ITU-T T.800 A.5.1."""
    start = _codestream(frame)
    if frame[start : start + 4] != b"\xff\x4f\xff\x51" or len(frame) < start + 45:
        raise Unreadable("damaged: its compressed frame does not begin as JPEG 2000 does")
    x1, y1, x0, y0, tile_x, tile_y, tile_x0, tile_y0, samples = struct.unpack(">8LH", frame[start + 8 : start + 42])
    components = frame[start + 42 : start + 42 + 3 * samples]
    if len(components) < 3 * samples or not samples or set(components[1::3]) | set(components[2::3]) != {1}:
        raise Unreadable("JPEG 2000 with subsampled components is not supported")
    if len(set(components[::3])) > 1:
        raise Unreadable("JPEG 2000 with components of different depth is not supported")
    if not (tile_x and tile_y and x1 > x0 and y1 > y0 and x1 > tile_x0 and y1 > tile_y0):
        raise Unreadable("damaged: its compressed frame has another size than its header says")
    if -(-(x1 - tile_x0) // tile_x) * -(-(y1 - tile_y0) // tile_y) > _MAX_TILES:
        raise Unreadable("damaged: its compressed frame has too many tiles")
    depth = components[0]
    return Stream(0, y1 - y0, x1 - x0, samples, (depth & 0x7F) + 1, bool(depth & 0x80))


def _codestream(frame: bytes) -> int:
    """Where it begins in the JP2 file that some writers put around it. Source: ITU-T T.800 I.4."""
    at = 0
    while frame[:8] == b"\0\0\0\x0cjP  " and at + 8 <= len(frame):
        length = int.from_bytes(frame[at : at + 4], "big")
        if frame[at + 4 : at + 8] == b"jp2c":
            return at + (16 if length == 1 else 8)
        if length < 8:
            break
        at += length
    return 0


def _jpeg(frame: bytes, stream: Stream) -> np.ndarray:
    if stream.kind in _LOSSLESS or (stream.kind in _SEQUENTIAL and stream.bits > 8):
        return _gdcm(frame, stream)
    if stream.kind not in _SEQUENTIAL:
        raise Unreadable("a JPEG process that is not supported (hierarchical or arithmetic)")
    with PIL.Image.open(io.BytesIO(frame), formats=("JPEG",)) as image:
        if stream.samples == 3 and stream.ybr_guess:
            image.draft("YCbCr", image.size)  # components as they are
        return np.asarray(image)


def _gdcm(frame: bytes, stream: Stream) -> np.ndarray:
    """Lossless JPEG, and JPEG of 12 bits, which no other codec at hand decodes."""
    if stream.samples == 3 and (stream.kind not in _LOSSLESS or stream.bits not in (8, 16)):
        raise Unreadable(f"JPEG colors of {stream.bits} bits are not supported")
    frame = _bare_jpeg(frame)
    import gdcm  # costs a tenth of a second, and few files need it

    fragment, fragments = gdcm.Fragment(), gdcm.SequenceOfFragments.New()
    fragment.SetByteStringValue(frame)
    fragments.AddFragment(fragment)
    element = gdcm.DataElement(gdcm.Tag(0x7FE0, 0x0010))
    element.SetValue(fragments.__ref__())
    image = gdcm.Image()
    image.SetNumberOfDimensions(2)
    image.SetDimensions((stream.columns, stream.rows, 1))
    image.SetDataElement(element)
    color = gdcm.PhotometricInterpretation.RGB if stream.samples == 3 else gdcm.PhotometricInterpretation.MONOCHROME2
    image.SetPhotometricInterpretation(gdcm.PhotometricInterpretation(color))
    lossless = stream.kind in _LOSSLESS
    process = gdcm.TransferSyntax.JPEGLosslessProcess14_1 if lossless else gdcm.TransferSyntax.JPEGExtendedProcess2_4
    image.SetTransferSyntax(gdcm.TransferSyntax(process))
    dtype = np.dtype("<u2" if stream.bits > 8 else "u1")
    image.SetPixelFormat(gdcm.PixelFormat(stream.samples, 8 * dtype.itemsize, stream.bits, stream.bits - 1, 0))
    with _hushed():
        text = image.GetBuffer()  # GDCM hands bytes over as text
    return np.frombuffer(text.encode("utf-8", "surrogateescape"), dtype)


def _bare_jpeg(frame: bytes) -> bytes:
    """The stream without what decoding does not need: at anything odd in there, GDCM ends the process."""
    parts = [b"\xff\xd8"]
    headers = 0
    for marker, body, data in segments(frame):
        if marker in _NEEDED:
            parts.append(bytes((0xFF, marker)) + (len(body) + 2).to_bytes(2, "big") + body + data)
        elif marker < 0xE0 and marker != 0xDC:
            raise Unreadable("damaged: its compressed frame is cut off or garbled")
        headers += marker in _FRAME_HEADERS
    if headers != 1:
        raise Unreadable("damaged: its compressed frame has several frame headers")
    return b"".join((*parts, b"\xff\xd9"))


@contextmanager
def _hushed() -> Iterator[None]:
    """Without the standard error stream: the libjpeg inside GDCM writes to it whatever it is told."""
    before, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(before, 2)
        os.close(before)
        os.close(nowhere)


def _jpeg_ls(frame: bytes, stream: Stream) -> np.ndarray:
    if stream.kind not in _LS:
        raise Unreadable("damaged: its compressed frame is no JPEG-LS")
    import jpeg_ls

    buffer, info = jpeg_ls.decode_pixel_data(frame)
    pixels = np.frombuffer(buffer, "<u2" if stream.bits > 8 else "u1")
    if stream.samples > 1 and info["interleave_mode"] == 0:
        return pixels.reshape(stream.samples, stream.rows, stream.columns).transpose(1, 2, 0)
    return pixels


def _jpeg2000(frame: bytes, stream: Stream) -> np.ndarray:
    import openjpeg

    size = 2 if stream.bits > 8 else 1
    return np.frombuffer(openjpeg.decode_pixel_data(frame, version=2), f"<{'i' if stream.signed else 'u'}{size}")


def _rle(frame: bytes, stream: Stream) -> np.ndarray:
    decoder = get_decoder(RLELossless)
    options: dict[str, Any] = {
        "rows": stream.rows, "columns": stream.columns, "samples_per_pixel": stream.samples, "number_of_frames": 1,
        "photometric_interpretation": "RGB" if stream.samples == 3 else "MONOCHROME2", "planar_configuration": 0,
        "bits_allocated": stream.bits, "bits_stored": stream.bits, "pixel_representation": 0,
    }  # fmt: skip
    faster = "pylibjpeg" if "pylibjpeg" in decoder.available_plugins else "pydicom"  # pylibjpeg-rle, if installed
    pixels, _ = decoder.as_array(encapsulate([frame], has_bot=False), raw=True, decoding_plugin=faster, **options)
    return np.asarray(pixels)


# What reads a codestream's own header, and what decodes it.
Codec = tuple[Callable[[bytes], Stream] | None, Callable[[bytes, Stream], np.ndarray]]
CODECS: dict[UID, Codec] = {
    **dict.fromkeys((JPEGBaseline8Bit, JPEGExtended12Bit, JPEGLossless, JPEGLosslessSV1), (inspect_jpeg, _jpeg)),
    **dict.fromkeys((JPEGLSLossless, JPEGLSNearLossless), (inspect_jpeg, _jpeg_ls)),
    **dict.fromkeys(
        (JPEG2000Lossless, JPEG2000, HTJ2KLossless, HTJ2KLosslessRPCL, HTJ2K), (inspect_jpeg2000, _jpeg2000)
    ),
    RLELossless: (None, _rle),
}
