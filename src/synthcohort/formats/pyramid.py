"""Whole slides as pyramids of levels, of which a part can be read at a time; memory does not grow with the slide.

Slides in TIFF (Aperio, Hamamatsu, Leica, Philips, QPTIFF, OME and plain pyramids) are read by tifffile; those that are
not TIFF, or whose tiles overlap, by OpenSlide when it is installed. Only levels of the scan itself are opened: the
label and the overview of a slide show names and bar codes.
"""

import contextlib
import math
import re
from collections import OrderedDict
from collections.abc import Iterator
from typing import Any, Protocol

import numpy as np
import tifffile

from synthcohort.formats import tiff
from synthcohort.formats.image import Source, Unreadable

OPENSLIDE_SUFFIXES = (".mrxs", ".vms", ".vmu", ".bif", ".svslide")
MAKERS = {
    "svs": "Aperio", "ndpi": "Hamamatsu", "scn": "Leica", "philips": "Philips", "qpi": "PerkinElmer", "avs": "Argos",
}  # fmt: skip
WITH_LEVELS = ("svs", "ndpi", "scn", "philips", "qpi")  # scanners whose levels tifffile knows from what they wrote
PLAUSIBLE_UM = (0.02, 20.0)  # microns per pixel of a scan
MAX_SIDE = 2**20  # pixels
MAX_SEGMENT = 2**26  # pixels of a strip or tile, which is decoded whole
CACHE_BYTES = 2**25
YCBCR_JPEG2000 = 33003  # Compression


class Pyramid(Protocol):
    """The levels of one scan, the finest first. `um` is the finest one's microns per pixel."""

    shapes: tuple[tuple[int, int], ...]  # rows, columns
    um: float | None
    facts: dict[str, Any]

    def region(self, level: int, top: int, left: int, rows: int, columns: int) -> np.ndarray:
        """A part of a level, [rows, columns, 3] uint8; what lies outside or was never scanned is white."""
        ...

    def block(self, level: int) -> tuple[int, int]:
        """Rows and columns that are best read together."""
        ...


def downsample(pyramid: Pyramid, level: int) -> float:
    """How many pixels of the finest level make one of `level`."""
    (rows0, columns0), (rows, columns) = pyramid.shapes[0], pyramid.shapes[level]
    return math.sqrt(rows0 / rows * columns0 / columns)


@contextlib.contextmanager
def opened(source: Source) -> Iterator[Pyramid]:
    """Raises Unreadable when it is no slide that can be read in tiles."""
    if source.name.lower().endswith(OPENSLIDE_SUFFIXES):
        with _openslide(source) as pyramid:
            yield pyramid
        return
    with tiff.opened(source) as tif:
        if tif.is_bif:
            raise Unreadable("a Ventana slide, whose tiles overlap: OpenSlide reads it when its name ends in .bif")
        try:
            pyramid = TiffPyramid(tif)
        except Unreadable:
            raise
        except Exception as error:  # a damaged directory may fail anywhere, with any exception
            raise Unreadable("damaged: its TIFF directory cannot be understood") from error
        yield pyramid


# --- by tifffile ----------------------------------------------------------------------------------------------------


class TiffPyramid:
    """A pyramid in a TIFF file; keeps the last decoded strips and tiles, up to 32 MiB."""

    def __init__(self, tif: tifffile.TiffFile):
        self._pages = _levels(tif)
        self._file = tif.filehandle
        self._kept: OrderedDict[tuple[int, int], np.ndarray] = OrderedDict()
        self._kept_bytes = 0
        self.shapes = tuple((page.shaped[2], page.shaped[3]) for page in self._pages)
        self.um = _microns(tif, self._pages[0])
        maker = MAKERS.get(tiff.scanner(tif) or "")
        self.facts: dict[str, Any] = {"modality": "SM", **({"manufacturer": maker} if maker else {})}

    def block(self, level: int) -> tuple[int, int]:
        rows, columns = self.shapes[level]
        height, width = tiff.segment_shape(self._pages[level])
        if width >= columns:
            return max(1, min(rows, 2**22 // columns)), columns
        return min(rows, math.ceil(2048 / height) * height), min(columns, math.ceil(2048 / width) * width)

    def region(self, level: int, top: int, left: int, rows: int, columns: int) -> np.ndarray:
        page = self._pages[level]
        height, width = tiff.segment_shape(page)
        down, across = (math.ceil(page.shaped[axis] / size) for axis, size in ((2, height), (3, width)))
        out = np.full((rows, columns, 3), 255, np.uint8)
        for i in range(top // height, min(down, math.ceil((top + rows) / height))):
            for j in range(left // width, min(across, math.ceil((left + columns) / width))):
                y, x = i * height - top, j * width - left
                for plane in range(page.shaped[0]):
                    piece = self._segment(level, (plane * down + i) * across + j)
                    if piece is None:
                        continue
                    channels = slice(plane, plane + 1) if page.shaped[0] > 1 else slice(None)
                    part = piece[max(0, -y) : rows - y, max(0, -x) : columns - x]
                    y0, x0 = max(0, y), max(0, x)
                    out[y0 : y0 + part.shape[0], x0 : x0 + part.shape[1], channels] = part
        return out

    def _segment(self, level: int, index: int) -> np.ndarray | None:
        """[rows, columns, 1 or 3] uint8 of a strip or tile; None where nothing was scanned."""
        kept = self._kept.get((level, index))
        if kept is not None:
            self._kept.move_to_end((level, index))
            return kept
        page = self._pages[level]
        if index >= len(page.dataoffsets):
            raise Unreadable("damaged: strips or tiles are missing")
        offset, size = page.dataoffsets[index], page.databytecounts[index]
        if size == 0:
            return None
        if offset < 8 or offset + size > self._file.size:
            raise Unreadable("damaged: strips or tiles are cut off")
        try:
            self._file.seek(offset)
            data = self._file.read(size)
            tiff.check_segment(page, data)
            piece = _decoded(page, data, index)
        except Unreadable:
            raise
        except Exception as error:  # a damaged tile may fail anywhere in its decoder, with any exception
            raise Unreadable("damaged: a strip or tile cannot be decoded") from error
        self._kept[level, index] = piece
        self._kept_bytes += piece.nbytes
        while self._kept_bytes > CACHE_BYTES and len(self._kept) > 1:
            self._kept_bytes -= self._kept.popitem(last=False)[1].nbytes
        return piece


def _decoded(page: tifffile.TiffPage, data: bytes, index: int) -> np.ndarray:
    tables = {"jpegtables": page.jpegtables, "jpegheader": page.jpegheader} if page.compression in tiff.JPEG else {}
    decoded, _, _ = page.decode(data, index, **tables)
    if decoded is None or decoded.dtype != np.uint8 or decoded.ndim != 4 or decoded.shape[0] != 1:
        raise ValueError
    piece = decoded[0]
    return _rgb(piece) if page.compression == YCBCR_JPEG2000 else piece


def _rgb(ycbcr: np.ndarray) -> np.ndarray:
    """Aperio keeps JPEG 2000 tiles of this kind as YCbCr without saying so in them. Source: ITU-T T.871."""
    y, cb, cr = (ycbcr[..., i].astype(np.float32) - (0, 128, 128)[i] for i in range(3))
    rgb = np.stack([y + 1.402 * cr, y - 0.344136 * cb - 0.714136 * cr, y + 1.772 * cb], axis=-1)
    return np.rint(rgb).clip(0, 255).astype(np.uint8)


def _levels(tif: tifffile.TiffFile) -> tuple[tifffile.TiffPage, ...]:
    """The scan's pages, the largest first. What isn't certain to be a level of the scan is left out."""
    kind = tiff.scanner(tif)
    scans = [
        series for series in tif.series
        if not tiff.ASIDE.search(series.name or "") and _is_scan(series.keyframe, reduced=False)
    ]  # fmt: skip
    if not scans:
        raise Unreadable("no scan of 8-bit color in it; fluorescence and gray slides are not supported")
    scan = max(scans, key=lambda series: series.keyframe.imagelength * series.keyframe.imagewidth)
    first = scan.keyframe
    if max(first.imagelength, first.imagewidth) > MAX_SIDE:
        raise Unreadable(f"a slide of more than {MAX_SIDE} pixels a side")
    levels = [first]
    for level in scan.levels[1:]:
        page = level.keyframe
        sure = kind in WITH_LEVELS or page.is_reduced or page.is_subifd
        if sure and _is_scan(page, reduced=True) and page.is_tiled == first.is_tiled and _alike(first, page):
            levels.append(page)
    for page in levels:
        height, width = tiff.segment_shape(page)
        if min(height, width) < 1:
            raise Unreadable("damaged: strips or tiles without pixels")
        if height * width > MAX_SEGMENT:
            raise Unreadable("stored in pieces that are too large to be decoded one by one")
    return tuple(sorted(levels, key=lambda page: -page.imagelength))


def _is_scan(page: tifffile.TiffPage, reduced: bool) -> bool:
    planes, depth, rows, columns, samples = page.shaped
    right = tiff.is_color(page) and planes * samples == 3 and depth == 1 and min(rows, columns) > 0
    return right and not tiff.is_aside(page) and (reduced or not page.is_reduced)


def _alike(first: tifffile.TiffPage, page: tifffile.TiffPage) -> bool:
    """Whether a page is smaller and of the same proportions, up to the rounding of its sides or one tile's padding."""
    rows, columns = first.imagelength / page.imagelength, first.imagewidth / page.imagewidth
    slack = max(2.0 / min(page.imagelength, page.imagewidth), 0.02)
    return min(rows, columns) > 1.2 and abs(rows / columns - 1) <= slack


def _microns(tif: tifffile.TiffFile, page: tifffile.TiffPage) -> float | None:
    """Microns per pixel of the finest level, where the file states it and it is plausible for a scan."""
    sides: tuple[float, float] | None = None
    try:
        if tif.is_svs:
            found = re.search(r"\bMPP\s*=\s*([0-9.]+)", page.description)
            sides = (float(found[1]) / 1000, float(found[1]) / 1000) if found else None
        elif tif.is_philips:
            found = re.search(r'DICOM_PIXEL_SPACING"[^>]*>\s*"([0-9.eE+-]+)"\s+"([0-9.eE+-]+)"', page.description)
            sides = (float(found[1]), float(found[2])) if found else None
        elif tif.is_ome:
            sides = tiff.ome_spacing(tif.ome_metadata or "", page)
        else:
            sides = tiff.tag_spacing(page)
    except Exception:  # what cannot be understood is absent
        return None
    return plausible(sides[0] * 1000, sides[1] * 1000) if sides else None


def plausible(rows_um: float, columns_um: float) -> float | None:
    """One number for square pixels; None for others and for sizes that no slide scanner has."""
    inside = all(PLAUSIBLE_UM[0] <= um <= PLAUSIBLE_UM[1] for um in (rows_um, columns_um))
    return (rows_um + columns_um) / 2 if inside and abs(rows_um / columns_um - 1) < 0.02 else None


# --- by OpenSlide ---------------------------------------------------------------------------------------------------


class OpenSlidePyramid:
    """A pyramid that OpenSlide reads."""

    def __init__(self, slide: Any):
        self._slide = slide
        self.shapes = tuple((rows, columns) for columns, rows in slide.level_dimensions)
        if max(map(max, self.shapes)) > MAX_SIDE:
            raise Unreadable(f"a slide of more than {MAX_SIDE} pixels a side")
        try:
            x, y = (float(slide.properties[f"openslide.mpp-{axis}"]) for axis in "xy")
            self.um = plausible(y, x)
        except (KeyError, ValueError):
            self.um = None
        maker = {"mirax": "3DHISTECH", "hamamatsu": "Hamamatsu", "ventana": "Ventana", "aperio": "Aperio"}.get(
            slide.properties.get("openslide.vendor", "")
        )
        self.facts: dict[str, Any] = {"modality": "SM", **({"manufacturer": maker} if maker else {})}

    def block(self, level: int) -> tuple[int, int]:
        rows, columns = self.shapes[level]
        return min(rows, 2048), min(columns, 2048)

    def region(self, level: int, top: int, left: int, rows: int, columns: int) -> np.ndarray:
        scale = self._slide.level_downsamples[level]
        try:
            part = self._slide.read_region((round(left * scale), round(top * scale)), level, (columns, rows))
        except Exception as error:  # OpenSlide has one kind of error for all
            raise Unreadable("damaged: a part of the slide cannot be decoded") from error
        rgba = np.asarray(part).astype(np.uint16)
        alpha = rgba[..., 3:]  # zero where nothing was scanned
        return ((rgba[..., :3] * alpha + 255 * (255 - alpha) + 127) // 255).astype(np.uint8)


@contextlib.contextmanager
def _openslide(source: Source) -> Iterator[Pyramid]:
    try:
        import openslide
    except ImportError:
        raise Unreadable("slides of this maker need OpenSlide: pip install openslide-python openslide-bin") from None
    if source.path is None:
        raise Unreadable("slides of this maker are several files; unpack the archive to read it")
    try:
        slide = openslide.OpenSlide(str(source.path))
    except Exception as error:  # its message may quote the file
        raise Unreadable("OpenSlide cannot read it: damaged, incomplete or of another kind") from error
    with slide:
        yield OpenSlidePyramid(slide)
