"""TIFF: gray and color pages at their depth, one image a page. Whole slides are for `slide`.

Words: a *page* is an image of the file (an IFD); a *segment* is the strip or tile that a page is stored in. The
resolution tags are not believed, because most programs write 72 or 96 dots per inch there; only OME and ImageJ, whose
unit is a physical one, give a pixel spacing. Source: TIFF 6.0 (1992); OME-TIFF 6.0; ImageJ's ij.io.TiffDecoder.
"""

import contextlib
import io
import logging
import math
import re
from collections.abc import Iterator
from typing import Any

import numpy as np
import tifffile

from synthcohort.formats.embedded import claimed_size
from synthcohort.formats.fingerprint import fingerprint
from synthcohort.formats.image import MAX_PIXELS, Image, Refusal, Source, Unreadable
from synthcohort.imaging.intensity import invert

SUFFIXES = (".tif", ".tiff", ".btf", ".tf8")
MAGICS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
SLIDE_SIDE = 8192  # pixels; a color image with a longer side is a whole slide
SLIDE_KINDS = ("svs", "ndpi", "scn", "bif", "philips", "qpi", "avs")  # what tifffile calls the scanners' dialects
MIN_IS_WHITE, MIN_IS_BLACK, RGB, PALETTE, YCBCR = 0, 1, 2, 3, 6  # PhotometricInterpretation
# Compression. Each of the last kinds' segments is an image of its own.
PLAIN = (1, 2, 3, 4, 5, 8, 32946, 32773, 34925, 34926, 50000)  # none, CCITT, LZW, deflate, PackBits, LZMA, zstd
JPEG, OTHERS = (7,), (33003, 33004, 33005, 34712, 34927, 50001)  # JPEG; JPEG 2000, WebP
MM_PER_UNIT = {
    "mm": 1.0, "cm": 10.0, "inch": 25.4, "in": 25.4, "m": 1000.0, "nm": 1e-6,
    "micron": 1e-3, "microns": 1e-3, "um": 1e-3, "µm": 1e-3, "μm": 1e-3, r"\u00B5m": 1e-3,
}  # fmt: skip
# A slide's label and overview show names and bar codes; scanners say so in the first words of a line.
ASIDE = re.compile(
    r"^\W*(slide\s*)?(label|macro|overview|thumbnail|barcode|map)(?![a-z])", re.IGNORECASE | re.MULTILINE
)

_OME_ASIDE = re.compile(r'<(?:\w+:)?Image\b[^>]*\bName="\W*(slide\s*)?(label|macro)(?![a-z])', re.IGNORECASE)

# tifffile tells of damage by logging, and quotes what stands in the file.
logging.getLogger("tifffile").addHandler(logging.NullHandler())
logging.getLogger("tifffile").propagate = False


@contextlib.contextmanager
def opened(source: Source) -> Iterator[tifffile.TiffFile]:
    """The file's directory, without reading pixels. Raises Unreadable."""
    thing: Any = io.BytesIO(source.data) if source.data is not None else str(source.path)
    name = source.name.rpartition("/")[2] if source.data is not None else None
    try:
        # Never another file that this one names; OME and others would open what lies beside it.
        tif = tifffile.TiffFile(thing, name=name, _multifile=False, is_ndtiff=False, is_mmstack=False)
        if not len(tif.pages):
            raise ValueError
    except OSError as error:
        raise Unreadable(f"cannot be read ({error.strerror})") from None
    except Exception as error:
        raise Unreadable("damaged: its TIFF directory cannot be understood") from error
    with tif:
        yield tif


def is_aside(page: tifffile.TiffPage) -> bool:
    """Whether a page says that it is the label or an overview of a slide: such pages show names and are never read."""
    magnification = page.tags.valueof(65421, 1)  # Hamamatsu's: -1 for the overview, -2 for the map
    if isinstance(magnification, (int, float)) and magnification < 0:
        return True
    return page.subfiletype == 9 or bool(ASIDE.search(page.description[:400]))


def is_color(page: tifffile.TiffPage) -> bool:
    """Eight bits of red, green and blue."""
    return page.samplesperpixel == 3 and page.bitspersample == 8 and page.photometric in (RGB, YCBCR)


def scanner(tif: tifffile.TiffFile) -> str | None:
    """Which slide scanner's dialect the file is in, or None."""
    return next((kind for kind in SLIDE_KINDS if getattr(tif, f"is_{kind}")), None)


def is_slide(tif: tifffile.TiffFile) -> bool:
    """Whether it came from a slide scanner, is a pyramid of color images, or a color image that is very large."""
    if scanner(tif) or (tif.is_ome and _OME_ASIDE.search(tif.ome_metadata or "")):
        return True
    first = tif.pages.first
    if not is_color(first):
        return False
    if max(first.imagelength, first.imagewidth) > SLIDE_SIDE:
        return True
    reduced = first.subifds or any(_is_level(page) for page in tif.pages[1:4])
    return bool(first.is_tiled and reduced)


def _is_level(page: tifffile.TiffPage | tifffile.TiffFrame) -> bool:
    return isinstance(page, tifffile.TiffPage) and page.is_reduced and page.is_tiled


def read_pages(source: Source) -> Iterator[Image | Refusal]:
    """Gives every page that is no smaller copy of another. Raises Unreadable with the reason."""
    with opened(source) as tif:
        _check(tif)
        spacing = _spacing(tif)
        single = len(tif.pages) == 1
        series = {} if single else {"series_uid": f"tiff:{fingerprint(source)}"}
        for number in range(len(tif.pages)):
            part = "" if single else f"page {number + 1}"
            try:
                page = _page(tif, number)
                if page.is_reduced and number:
                    continue
                pixels, bits, notes = _pixels(page, tif.filehandle.size)
            except Unreadable as refusal:
                if single:
                    raise
                yield Refusal(part, str(refusal))
                continue
            frame = None if single else number
            yield Image(pixels, bits, spacing, None, {}, series, notes, part, frame)


def _check(tif: tifffile.TiffFile) -> None:
    try:
        if is_slide(tif):
            raise Unreadable("a whole slide, to be read in tiles and not as one image")
        # One page may stand for many planes: those would be lost without a word.
        hidden = tif.is_stk or tif.is_lsm or (tif.is_imagej and tif.series[0].is_truncated)
        hidden = hidden or (tif.is_shaped and any(series.is_truncated for series in tif.series))
    except Unreadable:
        raise
    except Exception as error:
        raise Unreadable("damaged: its TIFF directory cannot be understood") from error
    if hidden:
        raise Unreadable("keeps several planes behind one page; save it with one page for each plane")


def _page(tif: tifffile.TiffFile, number: int) -> tifffile.TiffPage:
    try:
        page = tif.pages[number]
    except Exception as error:
        raise Unreadable("damaged: its TIFF directory cannot be understood") from error
    assert isinstance(page, tifffile.TiffPage)
    return page


# --- pixels ---------------------------------------------------------------------------------------------------------


def _pixels(page: tifffile.TiffPage, file_size: int) -> tuple[np.ndarray, int, tuple[str, ...]]:
    """Pixels, bits stored and notes of a page."""
    try:
        _check_page(page, file_size)
        with np.errstate(all="ignore"):
            stored = page.asarray(squeeze=False, maxworkers=1)
        return _image(page, stored)
    except Unreadable:
        raise
    except MemoryError:
        raise Unreadable("too large to decode in this machine's memory") from None
    except Exception as error:  # a damaged page may fail anywhere in the decoder, with any exception
        raise Unreadable("damaged or cut off: it cannot be decoded") from error


def _check_page(page: tifffile.TiffPage, file_size: int) -> None:
    """Raises Unreadable for everything that must not be decoded."""
    if is_aside(page):
        raise Unreadable("the label or overview of a slide, which may show names, is never read")
    planes, depth, rows, columns, samples = page.shaped
    if rows * columns * planes * depth * samples == 0 or page.dtype is None:
        raise Unreadable("damaged, or of a pixel type that is not supported")
    largest = max(rows * columns, page.tilelength * page.tilewidth) * samples
    if largest > MAX_PIXELS:
        raise Unreadable(f"{rows} x {columns} pixels; at most {MAX_PIXELS} are read")
    if depth > 1:
        raise Unreadable("a volume in one page is not supported; save it with one page for each plane")
    if page.photometric not in (MIN_IS_WHITE, MIN_IS_BLACK, RGB, PALETTE, YCBCR):
        raise Unreadable("its color space is not supported; gray, RGB, YCbCr and palette are")
    if page.compression not in PLAIN + JPEG + OTHERS:
        raise Unreadable("its compression is not supported")
    if page.photometric == YCBCR and page.compression not in JPEG:
        raise Unreadable("YCbCr without JPEG compression is not supported")
    check_segments(page, file_size, math.prod(page.chunked))


def check_segments(page: tifffile.TiffPage, file_size: int, count: int) -> None:
    """Raises Unreadable when strips or tiles are missing or reach beyond the end of the file."""
    offsets, sizes = page.dataoffsets, page.databytecounts
    if len(offsets) != len(sizes) or (len(offsets) != count and not page.is_contiguous):
        raise Unreadable("damaged: strips or tiles are missing")
    if min(sizes, default=0) < 1 or max(map(sum, zip(offsets, sizes, strict=True))) > file_size:
        raise Unreadable("damaged: strips or tiles are missing or cut off")
    if page.compression in JPEG + OTHERS:
        handle = page.parent.filehandle
        for offset, size in zip(offsets, sizes, strict=True):
            handle.seek(offset)
            data = handle.read(size)
            check_segment(page, data)
            # The decoder fills what is missing with gray, without a word.
            if page.compression in JPEG and not data.rstrip(b"\0").endswith(b"\xff\xd9"):
                raise Unreadable("damaged: strips or tiles are cut off")


def check_segment(page: tifffile.TiffPage, data: bytes) -> None:
    """Raises Unreadable when a strip or tile is compressed in an unknown way, or would unfold to more than its size."""
    if page.compression in PLAIN:  # tifffile makes room for a segment, not for what its data unfold to
        return
    if page.compression not in JPEG + OTHERS:
        raise Unreadable("its compression is not supported")
    if page.jpegheader is not None:  # Hamamatsu: tifffile sets the size of each piece
        return
    rows, columns = segment_shape(page)
    claimed = claimed_size(data)
    if claimed is None or claimed[0] > rows or claimed[1] > columns:
        raise Unreadable("damaged: a strip or tile is larger than it should be, or cannot be understood")


def segment_shape(page: tifffile.TiffPage) -> tuple[int, int]:
    """Rows and columns of a page's tiles or strips."""
    if page.is_tiled:
        return page.tilelength, page.tilewidth
    return min(page.rowsperstrip, page.shaped[2]), page.shaped[3]


def _image(page: tifffile.TiffPage, stored: np.ndarray) -> tuple[np.ndarray, int, tuple[str, ...]]:
    """From samples [planes, 1, rows, columns, samples] to an image."""
    planes, _, rows, columns, samples = stored.shape
    samples_last = stored[:, 0].transpose(1, 2, 3, 0).reshape(rows, columns, samples * planes)
    notes: list[str] = []
    bits = page.bitspersample
    if not isinstance(bits, int):
        raise Unreadable("samples of different depths are not supported")
    expected = 3 if page.photometric in (RGB, YCBCR) else 1
    pixels = _without_alpha(samples_last, expected, bits, notes)
    if page.photometric == PALETTE:
        pixels = _expanded(page, pixels)
        notes.append("palette expanded to RGB")
        return _upright(pixels, page, notes), 8 * pixels.dtype.itemsize, tuple(notes)
    pixels, bits = _integers(pixels, bits, notes)
    if page.photometric == MIN_IS_WHITE:
        pixels = invert(pixels, bits)
        notes.append("white-is-zero inverted, so that large values are bright")
    return _upright(pixels, page, notes), 16 if pixels.dtype == np.int16 else bits, tuple(notes)


def _without_alpha(stored: np.ndarray, expected: int, bits: int, notes: list[str]) -> np.ndarray:
    found = stored.shape[2]
    if found == expected + 1 and stored.dtype.kind in "ub":
        if int(stored[..., expected].min()) != 2**bits - 1:
            raise Unreadable("has transparent pixels, so that its colors depend on a background")
        notes.append("an opaque alpha channel was dropped")
    elif found != expected:
        raise Unreadable(f"{found} channels in a page; gray, RGB and an opaque alpha are supported")
    return stored[..., 0] if expected == 1 else stored[..., :3]


def _expanded(page: tifffile.TiffPage, numbers: np.ndarray) -> np.ndarray:
    palette = page.colormap
    if palette is None or numbers.dtype.kind not in "ub" or int(numbers.max()) >= palette.shape[1]:
        raise Unreadable("damaged: its palette does not fit its pixels")
    # Palettes have 16 bits; most writers fill the lower eight with zeros or with a copy of the upper.
    upper, lower = palette >> 8, palette & 255
    if ((lower == 0) | (lower == upper)).all():
        palette = upper.astype(np.uint8)
    return palette.T[numbers.astype(np.intp)]


def _integers(pixels: np.ndarray, bits: int, notes: list[str]) -> tuple[np.ndarray, int]:
    """As uint8, uint16 or int16, with the bits they need; refused where that would lose something."""
    kind = pixels.dtype.kind
    if kind == "b" or (bits == 1 and kind == "u"):
        notes.append("one bit expanded to eight")
        return pixels.astype(np.uint8) * np.uint8(255), 8
    if kind == "u" and bits <= 16:
        return pixels.astype(np.uint8 if bits <= 8 else np.uint16), bits
    if kind == "i" and bits <= 16:
        return pixels.astype(np.int16), 16
    if kind not in "uif":
        raise Unreadable("pixels of this type are not supported; integers and whole floats are")
    if not np.isfinite(pixels).all() or (kind == "f" and (pixels != np.rint(pixels)).any()):
        raise Unreadable("floating point pixels that are no whole numbers would lose precision")
    low, high = int(pixels.min()), int(pixels.max())
    if low < -(2**15) or high > (2**15 - 1 if low < 0 else 2**16 - 1):
        raise Unreadable("values do not fit in 16 bits")
    notes.append(f"{bits}-bit whole numbers kept in 16 bits")
    return pixels.astype(np.int16 if low < 0 else np.uint16), 16


def _upright(pixels: np.ndarray, page: tifffile.TiffPage, notes: list[str]) -> np.ndarray:
    """Turned as the Orientation tag says: 1 top left, 2 top right, 3 bottom right, 4 bottom left, 5 to 8 transposed."""
    tag = page.tags.valueof(274, 1)
    if tag in range(2, 9):
        notes.append("turned upright as its Orientation tag says")
        if tag > 4:
            pixels = pixels.swapaxes(0, 1)
        pixels = pixels[:: -1 if tag in (3, 4, 7, 8) else 1, :: -1 if tag in (2, 3, 6, 7) else 1]
    return np.ascontiguousarray(pixels)


# --- spacing --------------------------------------------------------------------------------------------------------


def _spacing(tif: tifffile.TiffFile) -> tuple[float, float] | None:
    """Millimetres between rows and between columns, where OME or ImageJ metadata state a physical size."""
    try:
        if tif.is_ome:
            return ome_spacing(tif.ome_metadata or "", tif.pages.first)
        if tif.is_imagej:
            unit = (tif.imagej_metadata or {}).get("unit")
            return _per_pixel(tif.pages.first, MM_PER_UNIT.get(str(unit)))
    except Exception:  # a spacing that cannot be understood is absent
        return None
    return None


def ome_spacing(xml: str, page: tifffile.TiffPage) -> tuple[float, float] | None:
    """From OME-XML, of the image that is as large as `page`; None when it is absent, or several such images differ.

    Source: OME schema 2016-06, Pixels.
    """
    found = set()
    for pixels in re.findall(r"<(?:\w+:)?Pixels\b[^>]*>", xml):
        sides = [re.search(rf'\bSize{axis}="(\d+)"', pixels) for axis in "YX"]
        if [side and int(side[1]) for side in sides] != [page.imagelength, page.imagewidth]:
            continue
        size = []
        for axis in "YX":
            value = re.search(rf'\bPhysicalSize{axis}="([^"]+)"', pixels)
            unit = re.search(rf'\bPhysicalSize{axis}Unit="([^"]+)"', pixels)
            size.append(float(value[1]) * MM_PER_UNIT.get(unit[1] if unit else "µm", math.nan) if value else math.nan)
        found.add(tuple(size))
    rows, columns = found.pop() if len(found) == 1 else (math.nan, math.nan)
    return (rows, columns) if 0 < rows < math.inf and 0 < columns < math.inf else None


def _per_pixel(page: tifffile.TiffPage, mm: float | None) -> tuple[float, float] | None:
    """The resolution tags, which count pixels per unit of `mm` millimetres."""
    per_unit = [numerator / denominator for numerator, denominator in (page.tags.valueof(tag) for tag in (283, 282))]
    if mm is None or min(per_unit) <= 0:
        return None
    return mm / per_unit[0], mm / per_unit[1]


def tag_spacing(page: tifffile.TiffPage) -> tuple[float, float] | None:
    """The resolution tags in the unit that the page states (inch or centimetre): slide scanners mean it."""
    try:
        return _per_pixel(page, {2: 25.4, 3: 10.0}.get(int(page.tags.valueof(296, 2))))
    except Exception:
        return None
