"""Sheets of images: what a radiologist looks at before any number."""

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from synthcohort.core.cohort import Cohort

GAP = 4  # pixels between two tiles
GROUND = 0  # tiles lie on black, as on a light box that is off


@dataclass(frozen=True)
class Sheet:
    """One PNG of tiles, with the words a page needs beside it."""

    png: bytes
    shown: int
    total: int
    rows: int  # pixels of one image
    columns: int
    enlarged: float  # tile size over image size

    @property
    def note(self) -> str:
        size = f"{self.shown} of {self.total:,} images, {self.columns} × {self.rows} pixels each"
        if self.enlarged > 1:
            return f"{size}, shown {self.enlarged:g} times enlarged (interpolated)"
        if self.enlarged < 1:
            return f"{size}, shown reduced"
        return size


def display(
    image: np.ndarray, window: tuple[float, float] | None = None, percentiles: tuple[float, float] = (0.5, 99.5)
) -> np.ndarray:
    """Gray or RGB image of any integer depth -> uint8 for the eye.

    `window` is (center, width) in the image's own values. Without one, 8-bit images stay as they are and deeper ones
    are stretched between the two percentiles. Source of the window formula: DICOM PS3.3 C.11.2.1.2.1 (LINEAR).
    """
    if image.ndim == 3 or (image.dtype == np.uint8 and window is None):
        return image.astype(np.uint8, copy=False)
    values = image.astype(np.float64)
    if window is not None:
        center, width = window
        if width < 1:
            raise ValueError(f"window width is {width}; allowed: at least 1")
        low, high = center - 0.5 - (width - 1) / 2, center - 0.5 + (width - 1) / 2
    else:
        low, high = (float(v) for v in np.percentile(values, percentiles))
    if high <= low:
        high = low + 1.0
    return np.rint(np.clip((values - low) / (high - low), 0.0, 1.0) * 255.0).astype(np.uint8)


def sheet(
    images: Sequence[np.ndarray],
    columns: int = 8,
    tile: int = 128,
    captions: Sequence[str] | None = None,
    windows: Sequence[tuple[float, float] | None] | None = None,
) -> bytes:
    """Tiles in reading order on one PNG; each image is fitted into `tile` pixels, its aspect kept."""
    if not images:
        raise ValueError("a sheet needs at least one image")
    if captions is not None and len(captions) != len(images):
        raise ValueError(f"{len(captions)} captions for {len(images)} images")
    columns = min(columns, len(images))
    rows = math.ceil(len(images) / columns)
    strip = 20 if captions is not None else 0
    color = any(image.ndim == 3 for image in images)
    size = (columns * (tile + GAP) - GAP, rows * (tile + strip + GAP) - GAP)
    page = Image.new("RGB" if color else "L", size, (GROUND,) * 3 if color else GROUND)
    draw = ImageDraw.Draw(page)
    for i, image in enumerate(images):
        left, top = (i % columns) * (tile + GAP), (i // columns) * (tile + strip + GAP)
        picture = fit(Image.fromarray(display(image, windows[i] if windows else None)), tile)
        page.paste(picture, (left + (tile - picture.width) // 2, top + (tile - picture.height) // 2))
        if captions is not None:
            white = (235, 235, 235) if color else 235
            draw.text((left + 3, top + tile + 3), captions[i], fill=white, font=ImageFont.load_default(13))
    if captions is None and len(images) % columns:
        page.putalpha(_covered(size, len(images), columns, tile))
    return png_bytes(page)


def _covered(size: tuple[int, int], count: int, columns: int, tile: int) -> Image.Image:
    """Opaque where tiles lie: an unfilled last row must not look like black images."""
    mask = Image.new("L", size, 255)
    left, top = (count % columns) * (tile + GAP) - GAP, (count // columns) * (tile + GAP)
    mask.paste(0, (left, top, size[0], size[1]))
    return mask


def fit(picture: Image.Image, tile: int) -> Image.Image:
    """Scale so that the longer side is `tile` pixels: bicubic upward, box-filtered downward."""
    factor = tile / max(picture.size)
    size = (max(1, round(picture.width * factor)), max(1, round(picture.height * factor)))
    if size == picture.size:
        return picture
    return picture.resize(size, Image.Resampling.BICUBIC if factor > 1 else Image.Resampling.BOX)


def png_bytes(picture: Image.Image) -> bytes:
    """The same picture gives the same bytes: fixed compression, no metadata."""
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", compress_level=6)
    return buffer.getvalue()


def spread(total: int, wanted: int) -> list[int]:
    """`wanted` positions spread evenly over `total`: nobody picks the pretty ones."""
    if total <= wanted:
        return list(range(total))
    return [i * total // wanted for i in range(wanted)]


def class_sheets(cohort: Cohort, per_class: int = 16, columns: int = 4, tile: int = 128) -> dict[str, Sheet]:
    """One sheet for each value of the cohort's first nominal or ordinal label; one sheet of all where there is none.

    The images are taken at even steps through the cohort in the order of their ids, never chosen.
    """
    named = next((label for label in cohort.labels.values() if label.kind in ("nominal", "ordinal")), None)
    if named is None:
        return {"All images": _sheet_of(cohort, per_class, columns, tile)} if len(cohort) else {}
    column = cohort.column(named.name)
    sheets = {}
    for value in named.values:
        indices = [i for i, found in enumerate(column) if found == value]
        if indices:
            sheets[f"{named.name} = {value}"] = _sheet_of(cohort.select(indices=indices), per_class, columns, tile)
    return sheets


def _sheet_of(cohort: Cohort, count: int, columns: int, tile: int) -> Sheet:
    chosen = spread(len(cohort), count)
    images = [cohort.image(i) for i in chosen]
    centers, widths = cohort.column("window_center"), cohort.column("window_width")
    windows = [
        None if centers[i] is None or widths[i] is None else (float(centers[i]), float(widths[i])) for i in chosen
    ]
    rows, width = images[0].shape[:2]
    png = sheet(images, columns=columns, tile=tile, windows=windows)
    return Sheet(png, len(chosen), len(cohort), rows, width, round(tile / max(rows, width), 2))
