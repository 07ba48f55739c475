"""From what lies in a file to what it means: stored values, then modality values, brighter where larger.

Words: *cells* lie in the file, with room for more bits than are stored; *stored values* are the numbers in them;
*modality values* are what these mean after a modality table or rescale slope and intercept (Hounsfield units in CT);
*padding* fills an image where nothing was measured.
"""

from dataclasses import dataclass

import numpy as np

from synthcohort.formats.dicom_codecs import OTHER_COLORS, Stream
from synthcohort.formats.dicom_layout import GRAY, PALETTE, Layout
from synthcohort.formats.dicom_tables import Table
from synthcohort.formats.image import Unreadable
from synthcohort.imaging.intensity import invert, rescale

AIR_HU = -1024
INVERTED = "MONOCHROME1 inverted to MONOCHROME2"
RESCALED = "rescaled to modality values"
KEPT = "rescale is no exact integer map: stored values kept"
LOOKED_UP = "modality lookup table applied"
PADDED = "pixel padding set to the lowest value"
CLEARED = "bits of its cells that hold no pixel value were cleared"
ONE_BIT = "one bit expanded to eight"
_NOT_WHOLE = "pixel values that are not whole numbers of 16 bits are not supported"
Notes = tuple[str, ...]


@dataclass(frozen=True)
class Meaning:
    """What the numbers of a frame stand for."""

    ct: bool = False
    padding: tuple[float, float] | None = None  # lowest and highest value that is padding, as stored
    slope: float = 1.0
    intercept: float = 0.0
    table: Table | None = None
    palette: tuple[Table, str] | None = None


@dataclass(frozen=True)
class Values:
    """Pixels and how they came about. A modality value v became the pixel a * v + b, where `to_pixel` is (a, b)."""

    pixels: np.ndarray
    bits: int
    to_pixel: tuple[float, float] | None
    notes: Notes


def values_of(cells: np.ndarray, stream: Stream | None, of: Layout, meaning: Meaning) -> Values:
    """Raises Unreadable when the values cannot be held exactly."""
    if of.photometric in GRAY:
        return _gray(cells, stream, of, meaning)
    stored, notes = stored_values(cells, stream, of)
    if of.photometric == PALETTE:
        assert meaning.palette is not None
        table, note = meaning.palette
        return Values(table.apply(stored), table.bits, None, (*notes, note))
    pixels = stored.astype(np.uint8 if of.bits <= 8 else np.uint16, copy=False)
    ybr, other = _colors(of, stream)
    if ybr:
        pixels = to_rgb(pixels, of.bits, partial=of.photometric.startswith("YBR_PARTIAL"))
    return Values(pixels, min(of.bits, 16), None, (*notes, OTHER_COLORS) if other else notes)


def stored_values(cells: np.ndarray, stream: Stream | None, of: Layout) -> tuple[np.ndarray, Notes]:
    """Integers of at most 16 bits, without bits that are not theirs; a view where nothing has to change."""
    if of.floating:
        return _whole(cells), ()
    if of.allocated == 1:
        return cells * np.uint8(255), (ONE_BIT,)
    kind = np.dtype(f"{'i' if of.signed else 'u'}{cells.dtype.itemsize}")
    notes: Notes = ()
    if stream is not None:
        stored = cells.view(kind)
        if of.signed != stream.signed:
            stored = _wrapped(stored, stream.bits)
        if stream.bits > of.bits and not _fits(stored, of.bits):
            if not of.signed:
                raise Unreadable("(0028,0101) Bits Stored is too small for its pixel values")
            stored = _wrapped(stored, of.bits)
    else:
        if of.high_bit >= of.bits:
            cells = cells >> np.array(of.high_bit + 1 - of.bits, cells.dtype)
        stored = cells.view(kind)
        if not _fits(stored, of.bits):
            stored = _wrapped(stored, of.bits)
            notes = () if of.signed else (CLEARED,)
    return (_whole(stored) if kind.itemsize > 2 else stored), notes


def _fits(values: np.ndarray, bits: int) -> bool:
    if bits >= 8 * values.dtype.itemsize:
        return True
    if values.dtype.kind == "u":
        return int(values.max()) < 2**bits
    return -(2 ** (bits - 1)) <= int(values.min()) and int(values.max()) < 2 ** (bits - 1)


def _wrapped(values: np.ndarray, bits: int) -> np.ndarray:
    """The lowest `bits` of each value, as a number with or without a sign."""
    shift = max(0, 8 * values.dtype.itemsize - bits)
    if not shift:
        return values
    moved = values << np.array(shift, values.dtype)
    moved >>= np.array(shift, values.dtype)
    return moved


def _whole(values: np.ndarray) -> np.ndarray:
    """Numbers of 32 or 64 bits, as int16 or else uint16. Raises Unreadable when they are not whole or do not fit."""
    low, high = values.min(), values.max()
    if not (np.isfinite(low) and np.isfinite(high)):
        raise Unreadable(_NOT_WHOLE)
    unsigned = values.dtype.kind == "u"
    for target in (np.uint16,) if unsigned else (np.int16, np.uint16):
        limits = np.iinfo(target)
        if limits.min <= low and high <= limits.max:
            whole = values.astype(target)
            if values.dtype.kind == "f" and not np.array_equal(whole, values):
                break
            return whole
    raise Unreadable(_NOT_WHOLE)


def _gray(cells: np.ndarray, stream: Stream | None, of: Layout, meaning: Meaning) -> Values:
    padding = None if _harmless(of, meaning) else meaning.padding
    mask = None
    if of.floating and padding is not None:
        cells, mask = _without(cells, _between(cells, padding))
    stored, notes = stored_values(cells, stream, of)
    if not of.floating and padding is not None:
        found = _between(stored, padding)
        if stream is None and of.bits < of.allocated:  # padding may use the bits above those stored
            found |= cells == int(padding[0]) % 2**of.allocated
        stored, mask = _without(stored, found)
    bits = 8 if of.allocated == 1 else min(of.bits, 16)
    if stored.dtype.kind == "i":
        stored = stored.astype(np.int16, copy=False)
    else:
        stored = stored.astype(np.uint8 if bits <= 8 else np.uint16, copy=False)
    made = _modality(stored, bits, of.photometric == "MONOCHROME1", meaning)
    if mask is None:
        return Values(made.pixels, made.bits, made.to_pixel, notes + made.notes)
    pixels = made.pixels.copy() if made.pixels is stored else made.pixels
    if pixels.dtype.kind == "u":
        pixels[mask] = 0
    elif meaning.ct and KEPT not in made.notes:
        pixels[mask] = AIR_HU
    else:
        others = pixels[~mask]
        pixels[mask] = others.min() if others.size else 0
    return Values(pixels, made.bits, made.to_pixel, (*notes, *made.notes, PADDED))


def _harmless(of: Layout, meaning: Meaning) -> bool:
    """Whether padding, if there is any, is the lowest value already."""
    if meaning.padding is None or meaning.padding[0] != meaning.padding[1] or meaning.table is not None:
        return False
    value = meaning.padding[0] * meaning.slope + meaning.intercept
    if meaning.ct and (of.signed or meaning.intercept < 0):
        return value == AIR_HU
    plain = (meaning.slope, meaning.intercept) == (1, 0)
    return plain and not of.signed and of.photometric == "MONOCHROME2" and value == 0


def _between(values: np.ndarray, ends: tuple[float, float]) -> np.ndarray:
    low, high = ends
    found: np.ndarray = values == low if low == high else (values >= low) & (values <= high)
    return found


def _without(values: np.ndarray, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
    """Padding replaced by a value that surely can be mapped: the lowest of the others."""
    if not mask.any():
        return values, None
    others = values[~mask]
    values = values.copy()
    values[mask] = others.min() if others.size else 0
    return values, mask


def _modality(stored: np.ndarray, bits: int, inverted: bool, meaning: Meaning) -> Values:
    """Modality values, or stored values where those are no whole numbers of 16 bits."""
    notes: Notes = (INVERTED,) if inverted else ()
    if meaning.table is not None:
        pixels, bits = meaning.table.apply(stored), meaning.table.bits
        to_pixel = (-1.0, 2.0**bits - 1) if inverted else (1.0, 0.0)
        return Values(invert(pixels, bits) if inverted else pixels, bits, to_pixel, (*notes, LOOKED_UP))
    slope, intercept = meaning.slope, meaning.intercept
    signed = stored.dtype.kind == "i"
    top = -1 if signed else 2**bits - 1
    if inverted:
        stored = invert(stored, bits)
    mapped = rescaled(stored, slope, intercept, bits)
    if mapped is None:
        if meaning.ct and slope and slope.is_integer() and intercept.is_integer():
            raise Unreadable("its CT numbers do not fit in 16 bits")
        sign = -1 if inverted else 1
        back = (sign / slope, (top if inverted else 0) - sign * intercept / slope) if slope else None
        return Values(stored, 16 if signed else bits, back, (*notes, KEPT))
    if mapped is not stored:
        notes += (RESCALED,)
        if mapped.dtype.kind == "u":
            bits = min(16, max(1, int((2**bits - 1) * slope + intercept).bit_length()))
    to_pixel = (-1.0, top * slope + 2 * intercept) if inverted else (1.0, 0.0)
    return Values(mapped, 16 if mapped.dtype.kind == "i" else bits, to_pixel, notes)


def rescaled(stored: np.ndarray, slope: float, intercept: float, bits: int) -> np.ndarray | None:
    """`imaging.intensity.rescale` in fewer passes, where the header alone shows that nothing overflows."""
    if (slope, intercept) == (1, 0):
        return stored
    if not (float(slope).is_integer() and float(intercept).is_integer()) or slope == 0:
        return None
    signed = stored.dtype.kind == "i"
    limits = np.iinfo(np.int16 if signed or intercept < 0 or slope < 0 else np.uint16)
    if max(abs(slope), abs(intercept)) > limits.max:
        return rescale(stored, slope, intercept)
    ends = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
    if not all(limits.min <= end * slope + intercept <= limits.max for end in ends):
        ends = int(stored.min()), int(stored.max())
        if not all(limits.min <= end * slope + intercept <= limits.max for end in ends):
            return None
    # Between those ends, arithmetic modulo 2^16 is exact.
    values = stored.astype(limits.dtype)
    if slope != 1:
        values *= limits.dtype.type(slope)
    values += limits.dtype.type(intercept)
    return values


def _colors(of: Layout, stream: Stream | None) -> tuple[bool, bool]:
    """Whether the samples are YBR, and whether that is not what the header says. Source: DICOM PS3.5 8.2.1, A.4.1."""
    header = of.photometric.startswith("YBR")
    if stream is None or not stream.color:
        return header and of.photometric not in ("YBR_ICT", "YBR_RCT"), False
    return stream.color == "ybr", (stream.color == "ybr") != header


# Multiples of 10^-6 of Y - offset, CB - center and CR - center. Source: DICOM PS3.3 C.7.6.3.1.2; ITU-R BT.601.
_FULL = ((1_000_000, 0, 1_402_000), (1_000_000, -344_136, -714_136), (1_000_000, 1_772_000, 0))
_PARTIAL = ((1_164_400, 0, 1_596_000), (1_164_400, -391_700, -813_000), (1_164_400, 2_017_300, 0))
_UNIT = 1_000_000


def to_rgb(pixels: np.ndarray, bits: int, partial: bool = False) -> np.ndarray:
    """YBR [rows, columns, 3] to RGB, rounded to nearest (halves up) and clipped."""
    integer = np.int32 if bits <= 8 else np.int64
    luma = pixels[..., 0].astype(integer) - (16 if partial else 0)
    blue = pixels[..., 1].astype(integer) - 2 ** (bits - 1)
    red = pixels[..., 2].astype(integer) - 2 ** (bits - 1)
    out = np.empty(pixels.shape, pixels.dtype)
    for channel, (of_luma, of_blue, of_red) in enumerate(_PARTIAL if partial else _FULL):
        total: np.ndarray = luma * of_luma + _UNIT // 2
        if of_blue:
            total = total + blue * of_blue
        if of_red:
            total = total + red * of_red
        np.clip(total // _UNIT, 0, 2**bits - 1, out=out[..., channel], casting="unsafe")
    return out
