"""How an image is shown to the text detector: as 8-bit views of its values, at several scales, in tiles."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from synthcohort.ingest.pixel_text_model import resize

TILE, OVERLAP = 800, 160  # most scaled pixels of a tile's side; a line up to the overlap's height is whole in one tile
# Scales by the side, the root of the area. Letters of 7 pixels are found as they are on calm ground, not on texture.
SCALES = (
    (220, (2.0, 4.0)),
    (430, (1.0, 2.0)),
    (2000, (0.5, 1.0)),
    (2**31, (0.25, 0.5, 1.0)),
)
SAME = 0.06  # two views that differ by less than this share of the gray scale are one
FLAT = 2  # gray levels; letters that differ by less from what surrounds them could not be seen
SAMPLE = 2**20  # pixels from which percentiles are taken


@dataclass(frozen=True)
class Tile:
    """A part of a view: a pixel of the image is `scale` pixels here; `top` and `left` are in scaled pixels."""

    image: np.ndarray  # [rows, columns] or [rows, columns, 3] uint8
    scale: tuple[float, float]
    top: int
    left: int


def views(pixels: np.ndarray, window: tuple[float, float] | None = None) -> list[np.ndarray]:
    """The image in uint8: between its percentiles, over its full range, and in `window` (center, width) if given.

    Overlays are often written at the highest value that a file can hold: then the percentiles show the image, and the
    full range shows the overlay. Color images are taken as they are.
    """
    if pixels.ndim == 3:
        return [np.ascontiguousarray(pixels)] if np.ptp(pixels) else []
    low, high = int(pixels.min()), int(pixels.max())
    if low == high:
        return []
    step = max(1, round((pixels.size / SAMPLE) ** 0.5))
    first, last = np.percentile(pixels[::step, ::step], (0.5, 99.5))
    ranges = [(float(first), float(last)), (float(low), float(high))]
    if window is not None and pixels.dtype != np.uint8:
        ranges.append((window[0] - window[1] / 2, window[0] + window[1] / 2))
    values = np.arange(low, high + 1, dtype=np.float32)
    shown: list[np.ndarray] = []
    for start, end in ranges:
        if end <= start:
            continue
        table = np.clip((values - start) * (255.0 / (end - start)), 0, 255).astype(np.uint8)
        gray = table[pixels.astype(np.int32) - low]
        if not any(_difference(gray, other) < SAME * 255 for other in shown):
            shown.append(gray)
    return shown


def _difference(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.abs(a.astype(np.int16) - b).mean())


def tiles(view: np.ndarray) -> Iterator[Tile]:
    """All scales of a view, in overlapping tiles where a scale is large; flat tiles are left out."""
    rows, columns = view.shape[:2]
    for factor in scales_of(rows, columns):
        shape = (max(1, round(rows * factor)), max(1, round(columns * factor)))
        scaled = view if shape == (rows, columns) else resize(view, shape)
        for across in _parts(shape[0]):
            for along in _parts(shape[1]):
                part = scaled[across, along]
                if np.ptp(part) > FLAT:
                    yield Tile(part, (shape[0] / rows, shape[1] / columns), across.start, along.start)


def scales_of(rows: int, columns: int) -> tuple[float, ...]:
    """At which scales an image of this size is looked at."""
    side = math.sqrt(rows * columns)
    return next(scales for limit, scales in SCALES if side <= limit)


def _parts(length: int) -> list[slice]:
    """A side in as few equal overlapping parts as TILE allows."""
    count = max(1, math.ceil((length - OVERLAP) / (TILE - OVERLAP)))
    long = math.ceil((length + (count - 1) * OVERLAP) / count)
    starts = [round(i * (length - long) / max(1, count - 1)) for i in range(count)]
    return [slice(start, start + long) for start in starts]
