"""Every file that comes with pydicom is taken or refused for a reason, and its pixels are those of another decoder.

The other decoders are GDCM's own reader and SimpleITK. What the reader does beyond decoding (color, rescale, padding,
inversion) is done here once more, in another way: in floating point, from the words of the standard.
"""

import os
from collections import Counter
from pathlib import Path

import gdcm
import numpy as np
import pytest
import SimpleITK
from pydicom.data import get_testdata_files

from synthcohort.formats import dicom
from synthcohort.formats.image import Image, Refusal, Unreadable

FILES = sorted(path for path in map(Path, get_testdata_files()) if path.is_file())
ROOT = Path(os.path.commonpath(FILES))
TAKEN_FILES, TAKEN_FRAMES = 80, 111
# Refused files by the beginning of the reason.
REFUSED = {
    "no pixel data: not an image": 53,
    "not an image: a DICOMDIR": 8,
    "not an image: a radiotherapy object": 12,
    "not an image: a segmentation": 2,
    "not an image: a structured report": 3,
    "not an image: a waveform": 1,
    "not a DICOM file": 10,  # texts, JSON, a color profile, a gzip file, and no_meta.dcm, which one stray byte shifts
    "damaged: Rows, Columns": 2,
    "damaged: cut off inside its header": 1,
    "damaged: cut off inside its pixel data": 1,
    "damaged: its compressed frame has too many tiles": 1,  # a bit of its codestream is wrong; no codec decodes it
    "pixel values that are not whole numbers of 16 bits": 2,  # 32-bit colors
}
# Where another library reads something else, and why; the other one serves there.
NOT_BY_GDCM = {
    "examples_palette.dcm": "its reader leaves the palette unapplied",
    "J2K_pixelrep_mismatch.dcm": "its reader takes the sign from the codestream, which contradicts the header",
    "SC_rgb_rle_16bit.dcm": "it mixes the bytes of 16-bit colors in RLE",
    "SC_rgb_rle_16bit_2frame.dcm": "it mixes the bytes of 16-bit colors in RLE",
}
NOT_BY_SIMPLEITK = {
    "SC_rgb_rle_16bit.dcm": "GDCM decodes for it",
    "SC_rgb_rle_16bit_2frame.dcm": "GDCM decodes for it",
    "dicomdirtests/77654033/CR1/6154": "a rescale that gives no whole numbers is applied",
    "dicomdirtests/77654033/CR2/6247": "a rescale that gives no whole numbers is applied",
    "dicomdirtests/77654033/CR3/6278": "a rescale that gives no whole numbers is applied",
}
# The same picture in 8 bits, of which both are copies; each value v became 257 v.
EIGHT_BITS = {
    "SC_rgb_rle_16bit.dcm": "SC_rgb_rle.dcm",
    "SC_rgb_rle_16bit_2frame.dcm": "SC_rgb_rle_2frame.dcm",
}
PADDING_STORED, PADDING_HU = -2000, -3024  # in all CT images that have any


def outcome(path: Path) -> list[Image | Refusal] | str:
    try:
        return list(dicom.read(path))
    except Unreadable as error:
        return str(error)


@pytest.fixture(scope="module")
def outcomes() -> dict[str, list[Image | Refusal] | str]:
    return {str(path.relative_to(ROOT)): outcome(path) for path in FILES}


def test_every_bundled_file_is_taken_or_refused_for_a_reason(outcomes):
    reasons, frames, files = Counter(), 0, 0
    for items in outcomes.values():
        if isinstance(items, str):
            reasons[next((known for known in REFUSED if items.startswith(known)), items)] += 1
        elif all(isinstance(item, Refusal) for item in items):
            reasons[next(known for known in REFUSED if items[0].reason.startswith(known))] += 1
        else:
            assert all(isinstance(item, Image) for item in items)
            files, frames = files + 1, frames + len(items)
    assert dict(reasons) == REFUSED
    assert (files, frames) == (TAKEN_FILES, TAKEN_FRAMES)


def by_gdcm(path: Path) -> np.ndarray:
    """Modality values [frames, rows, columns(, 3)] from the stored values that GDCM reads."""
    reader = gdcm.ImageReader()  # its image dies with it
    reader.SetFileName(str(path))
    assert reader.Read()
    image = reader.GetImage()
    layout, dimensions = image.GetPixelFormat(), image.GetDimensions()
    samples, columns, rows = layout.GetSamplesPerPixel(), dimensions[0], dimensions[1]
    kind = f"<{'i' if layout.GetPixelRepresentation() else 'u'}{layout.GetBitsAllocated() // 8}"
    values = np.frombuffer(image.GetBuffer().encode("utf-8", "surrogateescape"), kind)
    if image.GetPlanarConfiguration():
        values = np.moveaxis(values.reshape(-1, samples, rows, columns), 1, -1)
    else:
        values = values.reshape(-1, rows, columns, samples)[..., 0 if samples == 1 else slice(None)]
    color = str(image.GetPhotometricInterpretation()).strip()
    if color.startswith("YBR_FULL"):
        y, cb, cr = (values[..., i].astype(np.float64) - (128 if i else 0) for i in range(3))
        rgb = np.stack([y + 1.402 * cr, y - 0.344136 * cb - 0.714136 * cr, y + 1.772 * cb], axis=-1)
        return np.clip(np.floor(np.round(rgb + 0.5, 9)), 0, 255)
    if color == "MONOCHROME1":
        values = 2.0 ** layout.GetBitsStored() - 1 - values
    slope, intercept = image.GetSlope(), image.GetIntercept()
    if not (float(slope).is_integer() and float(intercept).is_integer()):
        return np.asarray(values)
    padded = (values == PADDING_STORED) & bool(layout.GetPixelRepresentation())
    return np.where(padded, -1024, values * slope + intercept)


def by_simpleitk(path: Path) -> np.ndarray:
    """Modality values [frames, rows, columns(, 3)]; it converts colors and rescales by itself."""
    values = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(path)))
    return np.where(values == PADDING_HU, -1024, values)


@pytest.mark.parametrize(
    ("reference", "but"), [(by_gdcm, NOT_BY_GDCM), (by_simpleitk, NOT_BY_SIMPLEITK)], ids=["gdcm", "simpleitk"]
)
def test_pixels_equal_those_of_another_decoder(outcomes, reference, but):
    compared = 0
    for name, items in outcomes.items():
        if isinstance(items, str) or isinstance(items[0], Refusal) or name in but:
            continue
        wanted = reference(ROOT / name)
        taken = [item.pixels for item in items]
        assert len(taken) == (len(wanted) if wanted.shape[1:] == taken[0].shape else 1), name
        np.testing.assert_array_equal(np.reshape(taken, wanted.shape), wanted, err_msg=name)
        compared += 1
    assert compared == TAKEN_FILES - len(but)


def test_no_file_is_left_without_a_reference(outcomes):
    assert set(NOT_BY_GDCM) & set(NOT_BY_SIMPLEITK) == set(EIGHT_BITS)
    for name, twin in EIGHT_BITS.items():
        for image, reference in zip(outcomes[name], by_gdcm(ROOT / twin), strict=True):
            assert image.pixels.dtype == np.uint16
            np.testing.assert_array_equal(image.pixels, reference * 257)


def test_nothing_of_a_header_is_in_a_reason(outcomes):
    words = ("^", "19", "20", "1.3.6.1", "1.2.826", "1.2.840.113")
    for items in outcomes.values():
        reasons = [items] if isinstance(items, str) else [i.reason for i in items if isinstance(i, Refusal)]
        for reason in reasons:
            assert not any(word in reason for word in words), reason
