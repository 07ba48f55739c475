"""Geometry: resizing, cropping and padding that keep the integer type, and the way back for points and pixels.

Coordinates are (row, column) in continuous pixel units: the center of the first pixel is (0.5, 0.5), the image's
corner is (0, 0). Images are [rows, columns] or [rows, columns, 3] of uint8, uint16 or int16.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike
from PIL import Image

Fit = Literal["pad", "crop", "stretch"]
FITS: tuple[Fit, ...] = ("pad", "crop", "stretch")


def resize(image: np.ndarray, rows: int, columns: int) -> np.ndarray:
    """Resizes with a bicubic filter that widens when shrinking, so that fine texture does not alias.

    The dtype stays; results are rounded and kept within the image's own smallest and largest value.
    """
    if min(rows, columns) < 1 or image.size == 0:
        raise ValueError(f"cannot resize {image.shape} to {rows} x {columns}")
    if image.shape[:2] == (rows, columns):
        return image.copy()
    if image.dtype.kind not in "ui" or image.dtype.itemsize > 2:
        raise ValueError(f"dtype {image.dtype}; allowed: uint8, uint16, int16")
    low, high = image.min(), image.max()
    if image.ndim == 2 and _along_rows_first(image.shape, (rows, columns)):
        return _filtered(image, rows, columns).clip(low, high)
    if image.dtype == np.uint8:  # Pillow's 8-bit path: the same filter in fixed point, several times faster
        return np.clip(np.asarray(Image.fromarray(image).resize((columns, rows), Image.Resampling.BICUBIC)), low, high)
    planes = image[..., None] if image.ndim == 2 else image
    out = [
        np.asarray(Image.fromarray(planes[..., i].astype(np.float32)).resize((columns, rows), Image.Resampling.BICUBIC))
        for i in range(planes.shape[2])
    ]
    result = np.rint(np.stack(out, axis=-1)).clip(low, high).astype(image.dtype)
    return result[..., 0] if image.ndim == 2 else result


def _along_rows_first(shape: tuple[int, ...], target: tuple[int, int]) -> bool:
    """Whether Pillow surely does: it begins with the columns of some images that are tall or become flatter."""
    return target[0] * shape[1] >= target[1] * shape[0] and 2 * shape[0] <= 3 * shape[1]


def _filtered(image: np.ndarray, rows: int, columns: int) -> np.ndarray:
    """Pillow's bicubic filter of [rows, columns], to the bit, as products of small matrices: in two thirds of the time.

    Along the rows first, with float32 in between; 8-bit images have integers in between, and integer weights, whose
    sums double precision holds exactly.
    """
    fixed = image.dtype == np.uint8

    def held(sums: np.ndarray) -> np.ndarray:
        if fixed:
            return np.floor(sums * 2.0**-_FIXED_BITS + 0.5).clip(0, 255)
        return sums.astype(np.float32).astype(np.float64)

    values = image.astype(np.float64)
    if columns != image.shape[1]:
        wide = np.empty((image.shape[0], columns))
        for start, stop, first, last, weights in _bands(image.shape[1], columns, fixed):
            wide[:, start:stop] = values[:, first:last] @ weights.T
        values = held(wide)
    if rows != image.shape[0]:
        tall = np.empty((rows, columns))
        for start, stop, first, last, weights in _bands(image.shape[0], rows, fixed):
            tall[start:stop] = weights @ values[first:last]
        values = held(tall)
    limits = np.iinfo(image.dtype)
    return np.rint(values).clip(limits.min, limits.max).astype(image.dtype)


_FIXED_BITS = 32 - 8 - 2  # of Pillow's weights for 8-bit images
_BAND = 8  # lines made by one product: more would multiply more zeros, fewer are more calls


@lru_cache(maxsize=64)
def _bands(size: int, target: int, fixed: bool) -> tuple[tuple[int, int, int, int, np.ndarray], ...]:
    """The filter from `size` to `target` lines: (first line made, end, first line used, end, weights [made, used]).

    Source: Pillow's `precompute_coeffs`; Keys, "Cubic convolution interpolation" (1981), a = -0.5, widened to shrink.
    """
    scale = size / target
    wide = max(scale, 1.0)
    bands = []
    for start in range(0, target, _BAND):
        stop = min(start + _BAND, target)
        centers = [(line + 0.5) * scale for line in range(start, stop)]
        ends = [(max(0, int(c - 2 * wide + 0.5)), min(size, int(c + 2 * wide + 0.5))) for c in centers]
        first, last = min(a for a, _ in ends), max(b for _, b in ends)
        weights = np.zeros((stop - start, last - first))
        for row, center, (a, b) in zip(weights, centers, ends, strict=True):
            own = [_cubic((x - center + 0.5) * (1.0 / wide)) for x in range(a, b)]
            total = 0.0
            for weight in own:  # one by one as Pillow does: `sum` is more exact in newer Pythons
                total += weight
            row[a - first : b - first] = [w / total for w in own]
        if fixed:
            weights = np.trunc(weights * 2.0**_FIXED_BITS + np.copysign(0.5, weights))
        bands.append((start, stop, first, last, weights))
    return tuple(bands)


def _cubic(x: float) -> float:
    x = abs(x)
    if x < 1:
        return (1.5 * x - 2.5) * x * x + 1
    return (((x - 5) * x + 8) * x - 4) * -0.5 if x < 2 else 0.0


def crop(image: np.ndarray, top: int, left: int, rows: int, columns: int) -> np.ndarray:
    """A part of the image, as a copy; ValueError when it reaches outside."""
    if min(top, left) < 0 or min(rows, columns) < 1 or top + rows > image.shape[0] or left + columns > image.shape[1]:
        raise ValueError(f"crop of {rows} x {columns} at ({top}, {left}) does not lie in {image.shape[:2]}")
    return image[top : top + rows, left : left + columns].copy()


def pad(image: np.ndarray, top: int, left: int, rows: int, columns: int, fill: int = 0) -> np.ndarray:
    """The image on a larger canvas of `rows` x `columns`, its corner at (top, left); undone by `crop`."""
    if min(top, left) < 0 or top + image.shape[0] > rows or left + image.shape[1] > columns:
        raise ValueError(f"{image.shape[:2]} at ({top}, {left}) does not fit in {rows} x {columns}")
    canvas = np.full((rows, columns, *image.shape[2:]), fill, dtype=image.dtype)
    canvas[top : top + image.shape[0], left : left + image.shape[1]] = image
    return canvas


@dataclass(frozen=True)
class Placement:
    """Where a source window lies in a target image: source pixels [top, left, rows, columns] of each."""

    source_shape: tuple[int, int]
    target_shape: tuple[int, int]
    source_window: tuple[int, int, int, int]
    target_window: tuple[int, int, int, int]
    fill: int = 0

    @property
    def scale(self) -> tuple[float, float]:
        """Target pixels per source pixel, down the rows and along the columns."""
        return (
            self.target_window[2] / self.source_window[2],
            self.target_window[3] / self.source_window[3],
        )

    def spacing(self, source_spacing_mm: tuple[float, float]) -> tuple[float, float]:
        """Pixel spacing (between rows, between columns) of the target."""
        return source_spacing_mm[0] / self.scale[0], source_spacing_mm[1] / self.scale[1]

    def apply(self, image: np.ndarray) -> np.ndarray:
        """Source image to target image."""
        if image.shape[:2] != self.source_shape:
            raise ValueError(f"image of {image.shape[:2]}; this placement is for {self.source_shape}")
        part = resize(crop(image, *self.source_window), *self.target_window[2:])
        return pad(part, *self.target_window[:2], *self.target_shape, fill=self.fill)

    def undo(self, image: np.ndarray) -> np.ndarray:
        """Target image back onto the source grid; exact where nothing was resized, `fill` where it was cropped away."""
        if image.shape[:2] != self.target_shape:
            raise ValueError(f"image of {image.shape[:2]}; this placement gives {self.target_shape}")
        part = resize(crop(image, *self.target_window), *self.source_window[2:])
        return pad(part, *self.source_window[:2], *self.source_shape, fill=self.fill)

    def to_target(self, points: ArrayLike) -> np.ndarray:
        """Points [..., 2] from source to target coordinates."""
        moved = np.asarray(points, dtype=np.float64) - self.source_window[:2]
        return moved * self.scale + self.target_window[:2]

    def to_source(self, points: ArrayLike) -> np.ndarray:
        """Points [..., 2] from target to source coordinates; undoes `to_target`."""
        moved = np.asarray(points, dtype=np.float64) - self.target_window[:2]
        return moved / self.scale + self.source_window[:2]


def placement(
    source_shape: tuple[int, int], target_shape: tuple[int, int], fit: Fit = "pad", fill: int = 0
) -> Placement:
    """How an image of one shape is brought to another.

    `pad` shows all of it and fills the rest; `crop` fills the target and cuts what hangs over, evenly on both sides;
    `stretch` changes the aspect ratio.
    """
    if fit not in FITS:
        raise ValueError(f"fit {fit!r}; allowed: {', '.join(FITS)}")
    (rows, columns), (target_rows, target_columns) = source_shape, target_shape
    if min(*source_shape, *target_shape) < 1:
        raise ValueError(f"cannot place {source_shape} in {target_shape}")
    source_window, target_window = (0, 0, rows, columns), (0, 0, target_rows, target_columns)
    if fit == "pad":
        scale = min(target_rows / rows, target_columns / columns)
        inner = (_at_most(rows * scale, target_rows), _at_most(columns * scale, target_columns))
        target_window = ((target_rows - inner[0]) // 2, (target_columns - inner[1]) // 2, *inner)
    elif fit == "crop":
        scale = max(target_rows / rows, target_columns / columns)
        inner = (_at_most(target_rows / scale, rows), _at_most(target_columns / scale, columns))
        source_window = ((rows - inner[0]) // 2, (columns - inner[1]) // 2, *inner)
    return Placement((rows, columns), (target_rows, target_columns), source_window, target_window, fill)


def _at_most(length: float, limit: int) -> int:
    return min(limit, max(1, round(length)))
