"""DICOM: single-frame images of the common transfer syntaxes, at native depth, with the header facts that ingest needs.

Pixels are modality values (after Rescale Slope and Intercept) where these are exact integers; MONOCHROME1 is inverted,
so that large values are always shown bright; both are noted. Everything else is refused with a reason.
"""

import datetime
import io
import math
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from pydicom.errors import InvalidDicomError
from pydicom.pixels import get_decoder
from pydicom.uid import UID

from synthcohort.formats.image import MAX_PIXELS, Image, Unreadable
from synthcohort.imaging.intensity import invert, rescale

PIXEL_DATA_TAG = b"\xe0\x7f\x10\x00"  # (7FE0,0010), little endian
GRAY = ("MONOCHROME1", "MONOCHROME2")
NEEDED = (
    "Rows", "Columns", "BitsAllocated", "BitsStored", "PixelRepresentation", "SamplesPerPixel",
    "PhotometricInterpretation",
)  # fmt: skip
COLOR = ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT")


def read(source: Path | bytes) -> Image:
    """Decodes a single-frame DICOM image. Raises Unreadable with the reason."""
    data = source.read_bytes() if isinstance(source, Path) else source
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydicom's warnings quote header values
        ds = _parse(data)
        try:
            return _image(ds)
        except Unreadable:
            raise
        except MemoryError:
            raise Unreadable("too large to decode in this machine's memory") from None
        except Exception as error:  # a damaged header may fail anywhere, with any exception
            raise Unreadable(f"damaged: its header cannot be understood ({type(error).__name__})") from error


def _parse(data: bytes) -> pydicom.Dataset:
    if not data:
        raise Unreadable("the file is empty")
    try:
        ds = pydicom.dcmread(io.BytesIO(data))
    except InvalidDicomError:
        raise Unreadable("not a DICOM file: no DICM mark after the first 128 bytes") from None
    except Exception as error:
        raise Unreadable(f"damaged: its header cannot be parsed ({type(error).__name__})") from error
    if "PixelData" not in ds and PIXEL_DATA_TAG in data:
        raise Unreadable("damaged: cut off inside its pixel data")
    return ds


def _image(ds: pydicom.Dataset) -> Image:
    _check(ds)
    stored = _decode(ds)
    bits, notes = int(ds.BitsStored), []
    signed = bool(ds.PixelRepresentation)
    if stored.size and not signed and int(stored.max()) >= 2**bits:
        raise Unreadable("(0028,0101) Bits Stored is too small for its pixel values")
    if ds.PhotometricInterpretation in COLOR:
        pixels = stored.astype(np.uint8 if bits <= 8 else np.uint16)
        return Image(pixels, bits, _spacing(ds), None, header_facts(ds), identifiers(ds))
    slope, intercept = _number(ds, "RescaleSlope", 1.0), _number(ds, "RescaleIntercept", 0.0)
    window = _window(ds)
    if ds.PhotometricInterpretation == "MONOCHROME1":
        top = -1 if signed else 2**bits - 1
        stored = invert(stored, bits)
        # The window lies in modality values: x became top * slope + 2 * intercept - x.
        window = window and (top * slope + 2 * intercept - window[0] + 1.0, window[1])
        notes.append("MONOCHROME1 inverted to MONOCHROME2")
    pixels = _smallest(stored, signed, bits)
    values = rescale(pixels, slope, intercept)
    if values is None:
        notes.append("rescale is no exact integer map: stored values kept")
        window = None
    elif values is not pixels:
        notes.append("rescaled to modality values")
        bits = 16 if values.dtype == np.int16 else min(16, _bits(2**bits - 1, slope, intercept))
        pixels = values
    if pixels.dtype == np.int16:
        bits = 16
    return Image(pixels, bits, _spacing(ds), window, header_facts(ds), identifiers(ds), tuple(notes))


def _check(ds: pydicom.Dataset) -> None:
    """Raises Unreadable for everything that `_decode` must not see."""
    if "FloatPixelData" in ds or "DoubleFloatPixelData" in ds:
        raise Unreadable("floating point pixel data is not supported yet")
    if "PixelData" not in ds:
        raise Unreadable("no pixel data: not an image")
    missing = [name for name in NEEDED if ds.get(name) in (None, "")]
    if missing:
        raise Unreadable(f"damaged: {', '.join(missing)} missing")
    syntax = ds.file_meta.get("TransferSyntaxUID")
    if syntax is None:
        raise Unreadable("damaged: (0002,0010) Transfer Syntax UID missing")
    frames = ds.get("NumberOfFrames") or 1
    if int(frames) > 1:
        raise Unreadable(f"multi-frame images ({int(frames)} frames) are not supported yet")
    if ds.PhotometricInterpretation not in GRAY + COLOR:
        known = ds.PhotometricInterpretation in ("PALETTE COLOR", "YBR_PARTIAL_420", "HSV", "CMYK", "ARGB")
        word = ds.PhotometricInterpretation if known else "of an unknown kind"
        raise Unreadable(f"(0028,0004) Photometric Interpretation is {word}; supported: {', '.join(GRAY + COLOR)}")
    if ds.BitsAllocated not in (8, 16):
        raise Unreadable(f"(0028,0100) Bits Allocated is {int(ds.BitsAllocated)}; supported: 8, 16")
    if not 1 <= ds.BitsStored <= ds.BitsAllocated:
        raise Unreadable(f"(0028,0101) Bits Stored is {int(ds.BitsStored)}; allowed: 1 to {int(ds.BitsAllocated)}")
    if "ModalityLUTSequence" in ds:
        raise Unreadable("a Modality LUT Sequence is not supported yet")
    if not 0 < ds.Rows * ds.Columns * ds.SamplesPerPixel <= MAX_PIXELS:
        raise Unreadable(f"{ds.Rows} x {ds.Columns} pixels; allowed: 1 to {MAX_PIXELS}")
    _check_syntax(syntax)


def _check_syntax(syntax: UID) -> None:
    if syntax.is_private or not syntax.is_transfer_syntax:
        raise Unreadable("unsupported transfer syntax: private or unknown")
    if not syntax.is_compressed:
        return
    try:
        available = get_decoder(syntax).is_available
    except NotImplementedError:
        available = False
    if not available:
        raise Unreadable(f"unsupported transfer syntax: {syntax.name}")


def _decode(ds: pydicom.Dataset) -> np.ndarray:
    """Stored values [rows, columns(, 3)]; YBR becomes RGB."""
    try:
        stored = ds.pixel_array
    except MemoryError:
        raise
    except Exception as error:
        name = ds.file_meta.TransferSyntaxUID.name
        raise Unreadable(f"damaged: its pixel data cannot be decoded as {name}") from error
    expected = (int(ds.Rows), int(ds.Columns)) + ((int(ds.SamplesPerPixel),) if ds.SamplesPerPixel > 1 else ())
    if stored.shape != expected or (ds.SamplesPerPixel not in (1, 3)):
        raise Unreadable(f"damaged: pixel data of shape {stored.shape}, the header says {expected}")
    return np.asarray(stored)


def _smallest(stored: np.ndarray, signed: bool, bits: int) -> np.ndarray:
    """As uint8, uint16 or int16, by the header alone."""
    if signed:
        return stored.astype(np.int16)
    return stored.astype(np.uint8 if stored.dtype.itemsize == 1 and bits <= 8 else np.uint16)


def _bits(top: int, slope: float, intercept: float) -> int:
    return max(1, int(top * slope + intercept).bit_length())


def header_facts(ds: pydicom.Dataset) -> dict[str, Any]:
    """What the header says about image and patient that may be kept once cleaned; absent when it does not say."""
    facts = {
        "modality": _text(ds, "Modality"),
        "body_part": _text(ds, "BodyPartExamined"),
        "laterality": _text(ds, "ImageLaterality") or _text(ds, "Laterality"),
        "view": _text(ds, "ViewPosition"),
        "manufacturer": _text(ds, "Manufacturer"),
        "sex": _text(ds, "PatientSex"),
        "age": _text(ds, "PatientAge") or age_from_dates(_text(ds, "PatientBirthDate"), _text(ds, "StudyDate")),
    }
    return {name: value for name, value in facts.items() if value not in (None, "")}


def identifiers(ds: pydicom.Dataset) -> dict[str, str]:
    """What names the patient, the series and the image: for hashing alone."""
    names = {
        "patient_id": "PatientID", "issuer": "IssuerOfPatientID", "series_uid": "SeriesInstanceUID",
        "sop_instance_uid": "SOPInstanceUID",
    }  # fmt: skip
    found = {name: _text(ds, keyword) for name, keyword in names.items()}
    return {name: value for name, value in found.items() if value}


def age_from_dates(birth: str | None, study: str | None) -> float | None:
    """Completed years between two DICOM dates (YYYYMMDD), or None."""
    try:
        born = datetime.datetime.strptime(birth or "", "%Y%m%d").date()
        then = datetime.datetime.strptime(study or "", "%Y%m%d").date()
    except ValueError:
        return None
    years = then.year - born.year - ((then.month, then.day) < (born.month, born.day))
    return float(years) if years >= 0 else None


def _text(ds: pydicom.Dataset, keyword: str) -> str | None:
    try:
        value = ds.get(keyword)
    except Exception:  # one damaged element says nothing; it does not take the image with it
        return None
    if value is None or isinstance(value, (bytes, pydicom.Sequence)):
        return None
    text = str(value[0] if isinstance(value, pydicom.multival.MultiValue) and value else value)
    return text.strip().strip("\0").strip() or None


def _number(ds: pydicom.Dataset, keyword: str, default: float) -> float:
    value = ds.get(keyword)
    return default if value in (None, "") else float(value)


def _spacing(ds: pydicom.Dataset) -> tuple[float, float] | None:
    """Pixel Spacing, or the detector's own where an image was never calibrated (DICOM PS3.3 10.7.1.3)."""
    for keyword in ("PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing"):
        value = ds.get(keyword)
        if value and len(value) == 2:
            row, column = float(value[0]), float(value[1])
            if 0 < row < math.inf and 0 < column < math.inf:
                return row, column
    return None


def _window(ds: pydicom.Dataset) -> tuple[float, float] | None:
    """The first window, when it is one."""
    center, width = (_text(ds, keyword) for keyword in ("WindowCenter", "WindowWidth"))
    try:
        window = float(center or "nan"), float(width or "nan")
    except ValueError:
        return None
    return window if all(map(math.isfinite, window)) and window[1] >= 1 else None
