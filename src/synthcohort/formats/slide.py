"""Whole-slide images: tiles of tissue at one resolution, never the label or the overview of the slide.

Tissue is found on a small level (`tissue`). The tiles are cells of a grid over the scan that starts in its upper left
corner and has no gaps; a tile is called by its row and column there, from 0. Of the cells with enough tissue, at most
`options.tiles` are taken, evenly over the tissue and always the same ones. Tiles come from the coarsest level that is
at least as fine as `options.tile_um` asks and are shrunk to it by a filter that does not alias; without `tile_um` they
come from the level nearest to 0.5 microns per pixel, as it is.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import PIL.Image

from synthcohort.formats import pyramid as pyramids
from synthcohort.formats import tiff
from synthcohort.formats.fingerprint import fingerprint
from synthcohort.formats.image import Image, ReadOptions, Refusal, Source, Unreadable
from synthcohort.formats.pyramid import Pyramid, downsample
from synthcohort.formats.tissue import shares, spread, tissue_mask
from synthcohort.imaging.geometry import resize

SUFFIXES = (".svs", ".ndpi", ".scn", ".qptiff", *pyramids.OPENSLIDE_SUFFIXES)
USUAL_UM = 0.5
SAME = 1.02  # resolutions whose ratio is below need no resizing
COARSER = 1.25  # most that a scan's finest pixels may be larger than what `tile_um` asks
OVERVIEW = 2048  # pixels of the longer side in which tissue is looked for


def is_slide(source: Source) -> bool:
    """Whether a file is for this reader: by its ending, or a TIFF that a scanner made, a color pyramid or very large.

    False also for what cannot be read; reading it says why.
    """
    name = source.name.lower()
    if name.endswith(SUFFIXES):
        return True
    try:
        if not _starts_as_tiff(source):
            return False
        with tiff.opened(source) as tif:
            return tiff.is_slide(tif)
    except Exception:  # a damaged file may fail anywhere, with any exception
        return False


def _starts_as_tiff(source: Source) -> bool:
    if source.data is not None:
        return source.data.startswith(tiff.MAGICS)
    assert source.path is not None
    with source.path.open("rb") as file:
        return file.read(4) in tiff.MAGICS


def read(source: Source | Path | bytes, options: ReadOptions = ReadOptions()) -> Iterator[Image | Refusal]:  # noqa: B008
    """Gives tiles of tissue [tile_size, tile_size, 3] uint8, row by row. Raises Unreadable with the reason.

    All tiles of a slide share a `series_uid`.
    """
    source = Source.of(source)
    with pyramids.opened(source) as pyramid:
        try:
            plan = _plan(pyramid, options)
            cells, columns = _cells(pyramid, plan, options)
        except Unreadable:
            raise
        except MemoryError:
            raise Unreadable("too large to decode in this machine's memory") from None
        except Exception as error:  # a damaged directory may fail anywhere, with any exception
            raise Unreadable("damaged: its levels cannot be understood") from error
        series = {"series_uid": f"slide:{fingerprint(source)}"}
        spacing = (plan.um / 1000, plan.um / 1000) if plan.um else None
        for row, column in cells:
            part, frame = f"tile {row},{column}", int(row) * columns + int(column)
            try:
                pixels = _tile(pyramid, plan, int(row), int(column), options.tile_size)
            except Unreadable as refusal:
                yield Refusal(part, str(refusal))
                continue
            yield Image(pixels, 8, spacing, None, pyramid.facts, series, plan.notes, part, frame)


@dataclass(frozen=True)
class _Plan:
    """Where tiles come from: a level, and how many of its pixels a tile's side covers."""

    level: int
    extent: int
    um: float | None  # microns per pixel of the tiles
    notes: tuple[str, ...]


def _plan(pyramid: Pyramid, options: ReadOptions) -> _Plan:
    size, finest, asked = options.tile_size, pyramid.um, options.tile_um
    if finest is None:
        if asked is not None:
            raise Unreadable("states no microns per pixel, so that its tiles cannot be brought to the resolution asked")
        return _Plan(0, size, None, ("the slide states no microns per pixel: tiles of its finest level",))
    um = [finest * downsample(pyramid, level) for level in range(len(pyramid.shapes))]
    if asked is None:
        level = min(range(len(um)), key=lambda i: abs(math.log(um[i] / USUAL_UM)))
        return _Plan(level, size, um[level], ())
    if finest > asked * COARSER:
        raise Unreadable("its finest level is coarser than the resolution asked")
    level = max((i for i in range(len(um)) if um[i] <= asked * SAME), key=lambda i: um[i], default=0)
    if max(um[level] / asked, asked / um[level]) < SAME:
        return _Plan(level, size, um[level], ())
    extent = max(1, round(size * asked / um[level]))
    notes = ("resized to the resolution asked",)
    return _Plan(level, extent, um[level] * extent / size, notes)


def _tile(pyramid: Pyramid, plan: _Plan, row: int, column: int, size: int) -> np.ndarray:
    side = plan.extent
    pixels = pyramid.region(plan.level, row * side, column * side, side, side)
    return pixels if side == size else resize(pixels, size, size)


def _cells(pyramid: Pyramid, plan: _Plan, options: ReadOptions) -> tuple[np.ndarray, int]:
    """The (row, column) of the tiles to take, and how many columns the grid has."""
    rows, columns = (length // plan.extent for length in pyramid.shapes[plan.level])
    if rows * columns == 0:
        raise Unreadable("smaller than one tile")
    overview, scale = _overview(pyramid)
    mask = tissue_mask(overview)
    step = plan.extent * downsample(pyramid, plan.level) / scale
    share = shares(mask, np.arange(rows + 1) * step, np.arange(columns + 1) * step)
    cells = np.argwhere(share >= max(options.tissue, 1e-9))
    if not len(cells):
        raise Unreadable("no tile of it is covered by tissue to the share asked")
    return spread(cells, options.tiles), columns


def _overview(pyramid: Pyramid) -> tuple[np.ndarray, float]:
    """The scan on at most 2048 pixels a side, and how many pixels of the finest level make one of them."""
    fitting = [i for i, shape in enumerate(pyramid.shapes) if max(shape) <= OVERVIEW]
    level = fitting[0] if fitting else len(pyramid.shapes) - 1
    rows, columns = pyramid.shapes[level]
    factor = math.ceil(max(rows, columns) / OVERVIEW)
    height, width = (max(1, side // factor) * factor for side in pyramid.block(level))
    out = np.empty((math.ceil(rows / factor), math.ceil(columns / factor), 3), np.uint8)
    for top in range(0, rows, height):
        for left in range(0, columns, width):
            part = pyramid.region(level, top, left, min(height, rows - top), min(width, columns - left))
            small = np.asarray(PIL.Image.fromarray(part).reduce(factor))  # means of squares, also of those cut off
            y, x = top // factor, left // factor
            out[y : y + small.shape[0], x : x + small.shape[1]] = small
    return out, downsample(pyramid, level) * factor
