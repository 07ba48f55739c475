"""From a volume's numbers, whatever their type and scale, to integers of 8 or 16 bits, without loss where that can be.

Words: *raw* values stand in the file; *real* values are raw * slope + intercept.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from synthcohort.formats.image import Unreadable

CHUNK = 2**21  # values looked at in one go
HOUNSFIELD = np.iinfo(np.int16)
MEANT = 0.05  # share of all absolute values that lies below 0, from which values below 0 are meant: decision 0020

WHOLE, STORED, SPREAD, ROUNDED = "whole", "stored", "spread", "rounded"
NOTES = {
    WHOLE: "",
    STORED: "its scale gives no whole numbers of 16 bits: stored values kept",
    SPREAD: "values that are no whole numbers of 16 bits were spread evenly over 16 bits",
    ROUNDED: "CT numbers were rounded to whole Hounsfield units",
}
_SCALED = "rescaled to real values"
_NOT_NUMBERS = "voxels that hold no finite number were set to the smallest or largest of the others"


@dataclass(frozen=True)
class Span:
    """What was found in all raw values of a file: smallest and largest finite one, and whether all are whole."""

    low: float
    high: float
    whole: bool
    finite: bool
    below: float = 0.0  # share of the sum of all absolute real values that lies below 0


@dataclass(frozen=True)
class Mapping:
    """How raw values become pixels; one for all slices of a file, so that they stay comparable and of one type."""

    how: str
    slope: float
    intercept: float
    low: float  # smallest and largest finite real value (raw for "stored")
    high: float
    dtype: np.dtype
    bits: int
    notes: tuple[str, ...]
    signed: bool  # whether values below 0 mean something

    def apply(self, raw: np.ndarray) -> np.ndarray:
        """Pixels [rows, columns] of `dtype`."""
        if self.how == STORED:
            return (raw.astype(np.int64) - min(0, int(self.low))).astype(self.dtype)
        if raw.dtype.kind in "iu" and (self.slope, self.intercept) == (1, 0) and self.how == WHOLE:
            return np.ascontiguousarray(raw, dtype=self.dtype)
        real = _real(raw, self.slope, self.intercept)
        real = np.nan_to_num(real, nan=self.low, posinf=self.high, neginf=self.low).clip(self.low, self.high)
        if self.how == SPREAD:
            half = self.high / 2 - self.low / 2  # halves, because the width of the largest numbers is no number
            real = (real / 2 - self.low / 2) / (half if half > 0 else 1.0) * 65535.0
        return np.rint(real).astype(self.dtype)


def span(volumes: Iterable[np.ndarray], slope: float = 1.0, intercept: float = 0.0) -> Span:
    """Looks at every value of the volumes, a part at a time. The result is in real values, unless they are integers.

    For integers, low and high are raw and whole says whether all real values are whole numbers.
    """
    low, high, whole, finite = np.inf, -np.inf, True, True
    weights = np.zeros(2)
    for volume in volumes:
        flat = volume.reshape(-1, order="A")  # as it lies in memory, so that nothing is copied
        for start in range(0, flat.size, CHUNK):
            part = flat[start : start + CHUNK]
            integer = part.dtype.kind in "iu"
            if integer and float(slope).is_integer() and float(intercept).is_integer():
                low, high = min(low, int(part.min())), max(high, int(part.max()))
                weights += weigh(part if (slope, intercept) == (1, 0) else _real(part, slope, intercept))
                continue
            real = _real(part, slope, intercept)
            good = np.isfinite(real)
            if not good.all():
                finite, real = False, real[good]
            if real.size:
                whole = whole and bool((real == np.rint(real)).all())
                ends = part if integer else real
                low, high = min(low, ends.min()), max(high, ends.max())
                weights += weigh(real)
    if low > high:
        raise Unreadable("no voxel holds a finite number")
    return Span(float(low), float(high), whole, finite, share_below(weights))


def weigh(values: np.ndarray) -> np.ndarray:
    """Sums of the absolute values below 0 and of all, [2] float64; to be added up over a file's images."""
    with np.errstate(all="ignore"):
        total = float(values.sum(dtype=np.float64))
        below = -float(np.minimum(values, 0).sum(dtype=np.float64)) if values.dtype.kind != "u" else 0.0
        return np.array([below, total + 2 * below])


def share_below(weights: np.ndarray) -> float:
    """How much of a file lies below 0, from 0 to 1; of numbers too large to be added up, 0."""
    below, total = weights
    return float(below / total) if 0 < total < np.inf else 0.0


def mapping(raw: np.dtype, slope: float, intercept: float, found: Span, hounsfield: bool = False) -> Mapping:
    """The way that loses least: whole numbers as they are, stored values, whole Hounsfield units, or spread evenly.

    Numbers below zero ask for int16; others become uint16, or stay uint8. `hounsfield` says that it is CT, whose
    numbers are always int16.
    """
    integer = raw.kind in "iu"
    ends = (found.low, found.high)
    if integer:
        a, b = (end * slope + intercept for end in ends)
        ends = (min(a, b), max(a, b))
    low, high = ends
    scaled = (slope, intercept) != (1, 0)
    notes: tuple[str, ...] = () if found.finite else (_NOT_NUMBERS,)
    hounsfield = hounsfield and _fits(low, high, True)
    if found.whole and _fits(low, high, hounsfield):
        how, notes = WHOLE, notes + ((_SCALED,) if scaled else ())
        dtype = _dtype(low, hounsfield, raw == np.uint8 and not scaled)
    elif hounsfield:
        how, dtype = ROUNDED, np.dtype(np.int16)
    elif integer and raw.itemsize <= 2 and slope > 0:
        low, high = found.low, found.high
        how, dtype = STORED, np.dtype(np.uint8 if raw == np.uint8 else np.uint16)
    else:
        how, dtype = SPREAD, np.dtype(np.uint16)
    notes += (NOTES[how],) if NOTES[how] else ()
    signed = hounsfield or found.below >= MEANT
    if how == STORED and low < 0:
        notes += ("and moved up so that the smallest is zero",)
    bits = _bits(how, dtype, low, high, signed)
    return Mapping(how, slope, intercept, low, high, dtype, bits, notes, signed)


def _real(raw: np.ndarray, slope: float, intercept: float) -> np.ndarray:
    with np.errstate(all="ignore"):
        return np.asarray(raw, dtype=np.float64) * slope + intercept


def _fits(low: float, high: float, hounsfield: bool) -> bool:
    signed = low < 0 or hounsfield
    limits = HOUNSFIELD if signed else np.iinfo(np.uint16)
    return bool(limits.min <= low and high <= limits.max)


def _dtype(low: float, hounsfield: bool, byte: bool) -> np.dtype:
    if low < 0 or hounsfield:
        return np.dtype(np.int16)
    return np.dtype(np.uint8 if byte else np.uint16)


def _bits(how: str, dtype: np.dtype, low: float, high: float, signed: bool) -> int:
    """Bits that the pixels need; of int16 whose values below 0 mean nothing, bits that the others need."""
    if dtype == np.int16 and not signed:
        return max(1, int(max(high, 0)).bit_length())
    if dtype != np.uint16 or how == SPREAD:
        return 8 * dtype.itemsize
    return max(1, int(high - min(0, low)).bit_length())
