"""Images as payloads: raw 16-bit numbers, so that every one has the same number of bytes whatever it shows.

A payload is rows × columns × channels of uint16, little endian, line by line, without any header. Nothing is
compressed: the size of a compressed image tells how much texture it has.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from scipy import ndimage

from synthcohort.core.cohort import Cohort
from synthcohort.core.errors import InputError, Problem
from synthcohort.core.seeds import rng
from synthcohort.imaging.geometry import resize
from synthcohort.study.design import Images

SIGNED_OFFSET = 32768


@dataclass(frozen=True)
class Recipe:
    """What is done to every image of a study, real or not. `offset` was added to each value of the image."""

    rows: int
    columns: int
    channels: int
    fit: str
    intensity: str
    levels: int
    offset: int

    @property
    def size(self) -> int:
        """Bytes of a payload."""
        return self.rows * self.columns * self.channels * 2

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def recipe(images: Images, cohorts: Sequence[Cohort]) -> Recipe:
    """One recipe for all cohorts (views of the images that may be used); InputError where there can't be one."""
    shapes = [(c.column("rows"), c.column("columns"), c.column("channels")) for c in cohorts]
    channels = {n for _, _, column in shapes for n in column}
    if len(channels) != 1:
        raise InputError(Problem("images", "some gray and some in color", "one of both", "ingest all as gray"))
    rows, columns = images.rows, images.columns
    if not rows:
        rows, columns = (min(n for shape in shapes for n in shape[side]) for side in (0, 1))
    kinds = {cohort.image(0).dtype.name for cohort in cohorts}
    if images.intensity == "native" and len(kinds) > 1:
        found = f"images of {' and '.join(sorted(kinds))}"
        raise InputError(Problem("setting images.intensity", found, "one type for native", "use rescale"))
    levels = images.levels or min(_levels(cohort) for cohort in cohorts)
    offset = SIGNED_OFFSET if images.intensity == "native" and kinds == {"int16"} else 0
    return Recipe(rows, columns, channels.pop(), images.fit, images.intensity, levels, offset)


def _levels(cohort: Cohort) -> int:
    """Gray levels of the coarsest image: a cohort of 8 bits among 12-bit ones must not be known by its steps."""
    own = 8 if cohort.image(0).dtype == np.uint8 else 16
    bits = [min(own, int(bits)) for bits in cohort.column("bits_stored") if bits]
    return int(2 ** min(bits, default=own))


def payload(image: np.ndarray, how: Recipe) -> bytes:
    """The bytes of one image [rows, columns] or [rows, columns, 3]; always `how.size` of them."""
    shaped = fitted(image, how.rows, how.columns, how.fit)
    if how.intensity == "rescale":
        values = _rescaled(shaped, how.levels)
    else:
        values = shaped.astype(np.int64) + how.offset
    data = np.clip(values, 0, 65535).astype("<u2").tobytes()
    assert len(data) == how.size
    return data


def fitted(image: np.ndarray, rows: int, columns: int, fit: str) -> np.ndarray:
    """The image at this size: cropped around its middle, padded with its smallest value, or stretched."""
    if fit == "stretch" or image.shape[0] * columns == image.shape[1] * rows:
        return resize(image, rows, columns)
    scales = (rows / image.shape[0], columns / image.shape[1])
    scale = max(scales) if fit == "crop" else min(scales)
    tall, wide = max(1, round(image.shape[0] * scale)), max(1, round(image.shape[1] * scale))
    scaled = resize(image, tall, wide)
    if fit == "crop":
        top, left = (tall - rows) // 2, (wide - columns) // 2
        return scaled[top : top + rows, left : left + columns]
    result = np.full((rows, columns, *image.shape[2:]), scaled.min(), scaled.dtype)
    top, left = (rows - tall) // 2, (columns - wide) // 2
    result[top : top + tall, left : left + wide] = scaled
    return result


def _rescaled(image: np.ndarray, levels: int) -> np.ndarray:
    """0.1st to 99.9th percentile to 0 … levels − 1: detectors and exposure then say nothing about the origin."""
    low, high = np.percentile(image, (0.1, 99.9))
    share = (image.astype(np.float64) - low) / max(high - low, 1.0)
    return np.rint(np.clip(share, 0, 1) * (levels - 1))


def degraded(image: np.ndarray, *seed: str | int) -> np.ndarray:
    """The image blurred and noisy, so that any reader who looks can see it; the dtype stays."""
    draw = rng("study degraded", *seed)
    low, high = (float(v) for v in np.percentile(image, (1, 99)))
    width = max(1.0, 0.012 * image.shape[0])
    soft = ndimage.gaussian_filter(image.astype(np.float64), (width, width, 0)[: image.ndim])
    noisy = soft + draw.normal(0, 0.08 * max(high - low, 1.0), image.shape)
    limits = np.iinfo(image.dtype)
    return np.rint(noisy).clip(limits.min, limits.max).astype(image.dtype)
