"""Intensities: from a device's integers to what people and models see, and back without loss.

Words: *stored values* are the integers of a file; *modality values* are what they mean after rescale slope and
intercept (Hounsfield units in CT); a *value range* is the pair of modality values that a model sees as -1 and 1.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

HU_RANGE = (-1024, 3071)  # 12 bits of CT numbers, air to dense metal
WindowFunction = Literal["LINEAR", "LINEAR_EXACT", "SIGMOID"]


@dataclass(frozen=True)
class ValueRange:
    """The modality values that become -1 and 1; integers inside survive the way there and back exactly."""

    low: int
    high: int

    def __post_init__(self) -> None:
        if not self.low < self.high:
            raise ValueError(f"value range {self.low}..{self.high} is empty")


def value_range_of(dtype: DTypeLike, bits_stored: int | Iterable[int | None] | None = None) -> ValueRange:
    """The range of a cohort's images: 0 to 2^bits - 1 when unsigned, Hounsfield units when int16.

    `bits_stored` may be one number or a cohort's whole column; the largest counts, None means all bits of the dtype.
    """
    kind = np.dtype(dtype)
    if kind.kind == "i" and kind.itemsize == 2:
        return ValueRange(*HU_RANGE)
    if kind.kind != "u":
        raise ValueError(f"no value range for dtype {kind}; allowed: uint8, uint16, int16")
    given = [bits_stored] if bits_stored is None or isinstance(bits_stored, (int, np.integer)) else list(bits_stored)
    all_bits = 8 * kind.itemsize
    bits = max((all_bits if b is None else int(b) for b in given), default=all_bits)
    return ValueRange(0, 2 ** min(bits, all_bits) - 1)


def to_unit(image: ArrayLike, value_range: ValueRange) -> np.ndarray:
    """Integers to float32 in [-1, 1]; values outside the range are clipped to it."""
    low, high = value_range.low, value_range.high
    unit = np.asarray(image, dtype=np.float32)
    unit = np.clip(unit, np.float32(low), np.float32(high))
    return (unit - np.float32(low)) * np.float32(2.0 / (high - low)) - np.float32(1.0)


def from_unit(unit: ArrayLike, value_range: ValueRange, dtype: DTypeLike) -> np.ndarray:
    """[-1, 1] to integers, rounded and clipped; undoes `to_unit` exactly for every integer in the range.

    Raises ValueError when the dtype cannot hold the range.
    """
    low, high = value_range.low, value_range.high
    limits = np.iinfo(dtype)
    if low < limits.min or high > limits.max:
        raise ValueError(f"{np.dtype(dtype)} cannot hold {low}..{high}")
    values = (np.asarray(unit, dtype=np.float64) + 1.0) * (0.5 * (high - low)) + low
    return np.clip(np.rint(values), low, high).astype(dtype)


def invert(image: np.ndarray, bits_stored: int) -> np.ndarray:
    """Turns MONOCHROME1 into MONOCHROME2 or back: exact, and its own inverse.

    Unsigned values x become 2^bits - 1 - x; signed ones -1 - x (DICOM PS3.3 C.7.6.3.1.2).
    """
    if image.dtype.kind == "u":
        top = 2**bits_stored - 1
        if image.size and int(image.max()) > top:
            raise ValueError(f"value {int(image.max())} does not fit in {bits_stored} bits")
        return image.dtype.type(top) - image
    return np.invert(image)


def rescale(stored: np.ndarray, slope: float, intercept: float) -> np.ndarray | None:
    """Stored values to modality values as uint8, uint16 or int16, or None when they are not exact integers there.

    The dtype depends on slope, intercept and the stored dtype, not on the image, so that a series stays of one kind;
    only a negative intercept needs signs. Source: DICOM PS3.3 C.11.1.1.
    """
    if slope == 1 and intercept == 0:
        return stored
    if not (float(slope).is_integer() and float(intercept).is_integer()) or slope == 0:
        return None
    values = stored.astype(np.int64) * int(slope) + int(intercept)
    signed = stored.dtype.kind == "i" or intercept < 0 or slope < 0
    target = np.dtype(np.int16 if signed else np.uint16)
    limits = np.iinfo(target)
    if values.size and (int(values.min()) < limits.min or int(values.max()) > limits.max):
        return None
    return values.astype(target)


def unrescale(values: np.ndarray, slope: float, intercept: float, dtype: DTypeLike) -> np.ndarray:
    """Undoes `rescale` exactly."""
    if slope == 1 and intercept == 0:
        return values.astype(dtype)
    stored, remainder = np.divmod(values.astype(np.int64) - int(intercept), int(slope))
    if np.any(remainder):
        raise ValueError("these values did not come from this slope and intercept")
    return stored.astype(dtype)


def window(image: ArrayLike, center: float, width: float, function: WindowFunction = "LINEAR") -> np.ndarray:
    """Modality values to display values, float32 in [0, 1]. Source: DICOM PS3.3 C.11.2.1.2 and C.11.2.1.3."""
    _check_width(width, function)
    x = np.asarray(image, dtype=np.float64)
    if function == "SIGMOID":
        return (1.0 / (1.0 + np.exp(np.clip(-4.0 * (x - center) / width, -700.0, 700.0)))).astype(np.float32)
    if function == "LINEAR":
        if width == 1:  # a step: at and below center - 0.5 black, above white
            return (x > center - 0.5).astype(np.float32)
        shown = (x - (center - 0.5)) / (width - 1.0) + 0.5
    else:
        shown = (x - center) / width + 0.5
    return np.clip(shown, 0.0, 1.0).astype(np.float32)


def unwindow(shown: ArrayLike, center: float, width: float, function: WindowFunction = "LINEAR") -> np.ndarray:
    """Undoes `window` (float64) for every value it did not clip."""
    _check_width(width, function)
    y = np.asarray(shown, dtype=np.float64)
    if function == "SIGMOID":
        tiny = np.finfo(np.float32).tiny
        y = np.clip(y, tiny, 1.0 - np.finfo(np.float32).epsneg)
        return center + width / 4.0 * np.log(y / (1.0 - y))
    if function == "LINEAR":
        return (y - 0.5) * (width - 1.0) + (center - 0.5)
    return (y - 0.5) * width + center


def _check_width(width: float, function: str) -> None:
    if function not in ("LINEAR", "LINEAR_EXACT", "SIGMOID"):
        raise ValueError(f"window function {function!r}; allowed: LINEAR, LINEAR_EXACT, SIGMOID")
    if (width < 1 and function == "LINEAR") or width <= 0:
        raise ValueError(f"window width {width}; allowed: at least 1 for LINEAR, more than 0 otherwise")
