"""Pictures: PNG, JPEG, TIFF, BMP, GIF, WebP and JPEG 2000. Gray stays gray, color stays color, 16 bits stay 16 bits.

What would lose something is refused: transparency, several frames (TIFF's pages are read one by one), color spaces
that depend on a printer. EXIF, XMP and text chunks are not read, save for the orientation.
"""

import io
import struct
import warnings
from collections.abc import Iterator
from pathlib import Path

import imagecodecs
import numpy as np
import PIL.Image
from PIL import ImageOps

from synthcohort.formats import tiff
from synthcohort.formats.embedded import claimed_size
from synthcohort.formats.image import MAX_PIXELS, Image, ReadOptions, Refusal, Source, Unreadable

SUFFIXES = (
    ".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".bmp", ".dib", ".gif", ".webp", ".jp2", ".j2k", ".jpf", ".jpx", ".j2c",
    ".jpc", *tiff.SUFFIXES,
)  # fmt: skip
PNG_MAGIC = b"\x89PNG\r\n\x1a\n"
JPEG_MAGIC = b"\xff\xd8\xff"
JP2_MAGIC, J2K_MAGIC = b"\0\0\0\x0cjP  ", b"\xff\x4f\xff\x51"
MAGICS = (PNG_MAGIC, JPEG_MAGIC, b"BM", b"GIF8", b"RIFF", JP2_MAGIC, J2K_MAGIC)  # without TIFF's
_PILLOW = ("PNG", "JPEG", "BMP", "GIF", "WEBP", "JPEG2000")
_EXIF_ORIENTATION = 0x0112


def read(source: Source | Path | bytes, options: ReadOptions = ReadOptions()) -> Iterator[Image | Refusal]:  # noqa: B008
    """Decodes a picture, or all pages of a TIFF file. Raises Unreadable with the reason."""
    source = Source.of(source)
    if _head(source).startswith(tiff.MAGICS):
        yield from tiff.read_pages(source)
    else:
        yield _single(source.read())


def _head(source: Source) -> bytes:
    if source.data is not None:
        return source.data[:16]
    assert source.path is not None
    try:
        with source.path.open("rb") as file:
            return file.read(16)
    except OSError as error:
        raise Unreadable(f"cannot be read ({error.strerror})") from None


def _single(data: bytes) -> Image:
    if not data:
        raise Unreadable("the file is empty")
    if not data.startswith(MAGICS):
        raise Unreadable("not a PNG, JPEG, TIFF, BMP, GIF, WebP or JPEG 2000 file, whatever its name says")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            deep = _deep_png(data) if data.startswith(PNG_MAGIC) else None
            deep = _deep_jpeg2000(data) if data.startswith((JP2_MAGIC, J2K_MAGIC)) else deep
            return deep or _by_pillow(data)
    except Unreadable:
        raise
    except MemoryError:
        raise Unreadable("too large to decode in this machine's memory") from None
    except Exception as error:  # a damaged file may fail anywhere in the decoder, with any exception
        raise Unreadable("damaged or cut off: it cannot be decoded") from error


def _check_size(columns: int, rows: int) -> None:
    if columns * rows > MAX_PIXELS:
        raise Unreadable(f"{columns} x {rows} pixels; at most {MAX_PIXELS} are read")


# --- 8 bits, and 16 bits of gray ------------------------------------------------------------------------------------


def _by_pillow(data: bytes) -> Image:
    try:
        with PIL.Image.open(io.BytesIO(data), formats=_PILLOW) as opened:
            _check_size(opened.width, opened.height)
            if getattr(opened, "n_frames", 1) > 1:
                raise Unreadable("several frames in one file are not supported yet")
            opened.load()
            return _image(opened)
    except PIL.Image.DecompressionBombError:
        raise Unreadable(f"too many pixels; at most {MAX_PIXELS} are read, fewer where Pillow allows fewer") from None


def _image(opened: PIL.Image.Image) -> Image:
    notes = []
    if opened.getexif().get(_EXIF_ORIENTATION, 1) in range(2, 9):
        opened = ImageOps.exif_transpose(opened)
        notes.append("turned upright as its EXIF orientation says")
    if opened.mode == "P" and "transparency" not in opened.info:
        opened = opened.convert("RGB")
        notes.append("palette expanded to RGB")
    elif opened.mode == "P":
        opened = opened.convert("RGBA")
    if opened.mode == "1":
        opened = opened.convert("L")
        notes.append("one bit expanded to eight")
    if opened.mode in ("LA", "RGBA"):
        if opened.getchannel("A").getextrema() != (255, 255):
            raise Unreadable("has transparent pixels, so that its colors depend on a background")
        opened = opened.convert(opened.mode[:-1])
        notes.append("an opaque alpha channel was dropped")
    if "transparency" in opened.info:
        raise Unreadable("has a transparent color, so that its colors depend on a background")
    if opened.mode in ("L", "RGB"):
        return Image(np.array(opened, dtype=np.uint8), 8, notes=tuple(notes))
    if opened.mode.startswith("I"):
        wide = np.array(opened)
        if wide.min() < 0 or wide.max() > 65535:
            raise Unreadable("values do not fit in 16 bits")
        return Image(wide.astype(np.uint16), 16, notes=tuple(notes))
    raise Unreadable(f"color mode {opened.mode} is not supported; gray, RGB and palette are")


# --- what Pillow would bring down to 8 bits -------------------------------------------------------------------------


def _deep_png(data: bytes) -> Image | None:
    """A PNG with 16-bit color or alpha; None for others. Source: PNG (third edition), 11.2.1 IHDR."""
    if len(data) < 33:
        return None
    columns, rows, depth, color = struct.unpack(">IIBB", data[16:26])
    if depth != 16 or color == 0:
        return None
    _check_size(columns, rows)
    if b"acTL" in data[: data.find(b"IDAT")]:
        raise Unreadable("several frames in one file are not supported yet")
    pixels = imagecodecs.png_decode(data)
    notes: tuple[str, ...] = ()
    if pixels.shape[2:] in ((2,), (4,)):
        if pixels[..., -1].min() != 65535:
            raise Unreadable("has transparent pixels, so that its colors depend on a background")
        pixels, notes = pixels[..., :-1], ("an opaque alpha channel was dropped",)
    pixels = np.ascontiguousarray(pixels[..., 0] if pixels.shape[2:] == (1,) else pixels)
    if pixels.dtype != np.uint16 or pixels.shape[:2] != (rows, columns):
        raise ValueError
    return Image(pixels, 16, notes=notes)


def _deep_jpeg2000(data: bytes) -> Image | None:
    """JPEG 2000 with other depths than 8 bits; None for 8 bits. Source: ISO/IEC 15444-1 A.5.1, the SIZ marker."""
    at = data.find(J2K_MAGIC) + len(J2K_MAGIC)  # the first two markers of a codestream, and what comes after
    claimed = claimed_size(data)
    if claimed is None or len(data) < at + 41:
        return None
    _check_size(claimed[1], claimed[0])
    right, bottom, left, top = struct.unpack(">IIII", data[at + 4 : at + 20])
    (components,) = struct.unpack(">H", data[at + 36 : at + 38])
    sizes = {data[at + 38 + 3 * i : at + 41 + 3 * i] for i in range(components)}
    signed, bits = data[at + 38] >> 7, (data[at + 38] & 127) + 1
    if bits == 8 and not signed:
        return None
    if components not in (1, 3) or len(sizes) > 1 or bits > 16:
        raise Unreadable(f"JPEG 2000 with {components} components of {bits} bits; 1 or 3 alike of at most 16 are read")
    pixels = imagecodecs.jpeg2k_decode(data)
    if pixels.shape != (bottom - top, right - left) + ((3,) if components == 3 else ()):
        raise ValueError
    if signed:
        return Image(pixels.astype(np.int16), 16)
    return Image(pixels.astype(np.uint8 if bits <= 8 else np.uint16), bits)
