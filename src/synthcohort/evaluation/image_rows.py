"""Numbers of single images, straight from their pixels: one pass for each view, kept by content like features.

Both cohorts are read on the real one's scale of intensities, 0 to 1. What is kept belongs to the owner's cache.
"""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache as once
from pathlib import Path

import numpy as np

from synthcohort.core.cohort import Cohort
from synthcohort.core.files import digest_json
from synthcohort.core.kept import array_in_chunks
from synthcohort.evaluation.inputs import Inputs
from synthcohort.imaging import intensity, radiomics, spectra
from synthcohort.imaging.intensity import ValueRange, value_range_of

CHUNK = 512  # images whose numbers are made durable together
PIXELS = 2**21  # looked at together
BINS = 256  # of a histogram
STATISTICS = ("brightness", "contrast", "sharpness", "darkest", "brightest")


@dataclass(frozen=True)
class Looks:
    """Simple numbers of each image: statistics [N, 5], log power [N, rings] in decibels, histograms [N, C, BINS]."""

    statistics: np.ndarray
    spectra: np.ndarray
    histograms: np.ndarray


def scale_of(inputs: Inputs) -> ValueRange:
    """The real cohort's range of intensities."""
    return value_range_of(inputs.real.image(0).dtype, inputs.real.column("bits_stored"))


def shape_of(view: Cohort) -> tuple[int, int]:
    """The one shape of a view's images. Raises ValueError when there are several."""
    shapes = set(zip(view.column("rows"), view.column("columns"), strict=True))
    if len(shapes) != 1:
        raise ValueError(f"images of {len(shapes)} shapes")
    rows, columns = next(iter(shapes))
    return int(rows), int(columns)


def looks(view: Cohort, values: ValueRange, cache: Path) -> Looks:
    """Statistics, spectra and histograms of a view's images."""
    rings = spectra.num_rings(shape_of(view))
    rows = _rows(view, "looks", _looks, values, cache)
    first, second = len(STATISTICS), len(STATISTICS) + rings
    return Looks(rows[:, :first], rows[:, first:second], rows[:, second:].reshape(len(rows), -1, BINS))


def radiomic_rows(view: Cohort, values: ValueRange, cache: Path) -> np.ndarray:
    """Radiomic features [N, 55] of a view's images; colors are averaged to gray."""
    shape_of(view)
    return _rows(view, "radiomics", lambda unit: radiomics.radiomics(gray_of(unit)), values, cache)


def gray_of(images: np.ndarray) -> np.ndarray:
    """[B, rows, columns] of images with or without channels."""
    return images if images.ndim == 3 else images.mean(axis=3)


def unit_images(view: Cohort, indices: np.ndarray, values: ValueRange) -> np.ndarray:
    """Some images, 0 to 1 on this scale: [B, rows, columns(, 3)] float64."""
    stored = np.stack([view.image(int(index)) for index in indices])
    return (np.clip(stored.astype(np.float64), values.low, values.high) - values.low) / (values.high - values.low)


def _looks(unit: np.ndarray) -> np.ndarray:
    gray = gray_of(unit)
    slopes = [np.abs(np.diff(gray, axis=axis)).mean(axis=(1, 2)) for axis in (1, 2)]
    dark, bright = np.percentile(gray.reshape(len(gray), -1), [1, 99], axis=1)
    statistics = [gray.mean(axis=(1, 2)), gray.std(axis=(1, 2)), sum(slopes) / 2, dark, bright]
    channels = unit[..., None] if unit.ndim == 3 else unit
    flat = np.minimum((channels * BINS).astype(np.int64), BINS - 1).reshape(len(unit), -1, channels.shape[3])
    num = channels.shape[3]
    cells = flat + BINS * (np.arange(num) + num * np.arange(len(unit))[:, None, None])
    counts = np.bincount(cells.ravel(), minlength=len(unit) * num * BINS)
    histograms = counts.reshape(len(unit), -1) / flat.shape[1]
    return np.concatenate([np.stack(statistics, axis=1), spectra.log_power(2 * gray), histograms], axis=1)


def _rows(
    view: Cohort, name: str, compute: Callable[[np.ndarray], np.ndarray], values: ValueRange, cache: Path
) -> np.ndarray:
    content = {"pixels": view.pixels_digest, "range": [values.low, values.high], "code": _code(), "name": name}
    path = Path(cache) / f"{name}-{digest_json(content).partition(':')[2][:24]}.npy"
    return array_in_chunks(path, len(view), CHUNK, lambda rows: _chunk(view, np.array(rows), compute, values), name)


def _chunk(
    view: Cohort, rows: np.ndarray, compute: Callable[[np.ndarray], np.ndarray], values: ValueRange
) -> np.ndarray:
    height, width = shape_of(view)
    step = max(1, PIXELS // (height * width))
    parts = [compute(unit_images(view, rows[at : at + step], values)) for at in range(0, len(rows), step)]
    return np.concatenate(parts)


@once
def _code() -> str:
    import sys

    modules = (sys.modules[__name__], intensity, radiomics, spectra)
    return digest_json([inspect.getsource(module) for module in modules])
