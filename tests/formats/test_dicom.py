import warnings

import numpy as np
import pytest
from pydicom.uid import JPEG2000Lossless, JPEGLSLossless, RLELossless

from synthcohort.formats import Unreadable, dicom, format_of

GRAY12 = np.random.default_rng(0).integers(0, 4096, (9, 7)).astype(np.uint16)


def refusal(data):
    with pytest.raises(Unreadable) as caught:
        dicom.read(data)
    return str(caught.value)


@pytest.mark.parametrize(
    "pixels",
    [
        np.arange(60, dtype=np.uint8).reshape(6, 10),
        (np.arange(60) * 1000).astype(np.uint16).reshape(6, 10),
        (np.arange(60) * 1000 - 30000).astype(np.int16).reshape(6, 10),
        np.arange(180, dtype=np.uint8).reshape(6, 10, 3),
    ],
    ids=["uint8", "uint16", "int16", "rgb"],
)
def test_pixels_come_back_exactly_at_native_depth(make_dicom, pixels):
    image = dicom.read(make_dicom(pixels))
    assert image.pixels.dtype == pixels.dtype
    np.testing.assert_array_equal(image.pixels, pixels)
    assert image.bits_stored == 8 * pixels.dtype.itemsize
    assert image.notes == ()


@pytest.mark.parametrize(
    ("syntax", "plugin"),
    [(RLELossless, "pydicom"), (JPEGLSLossless, "pyjpegls"), (JPEG2000Lossless, "pylibjpeg")],
    ids=["rle", "jpeg-ls", "jpeg-2000"],
)
def test_lossless_syntaxes_are_lossless(make_dicom, syntax, plugin):
    pixels = np.random.default_rng(0).integers(0, 4096, (40, 33)).astype(np.uint16)
    image = dicom.read(make_dicom(pixels, compress=syntax, plugin=plugin, BitsStored=12))
    np.testing.assert_array_equal(image.pixels, pixels)
    assert image.bits_stored == 12


def test_monochrome1_is_inverted_with_its_window(make_dicom):
    data = make_dicom(
        GRAY12, BitsStored=12, PhotometricInterpretation="MONOCHROME1", WindowCenter="1000", WindowWidth="400"
    )
    image = dicom.read(data)
    np.testing.assert_array_equal(image.pixels, 4095 - GRAY12)
    assert "MONOCHROME1" in image.notes[0]
    # What was shown at level x must be shown at level 4095 - x: the window's ends move with it.
    low, high = 1000 - 0.5 - 199.5, 1000 - 0.5 + 199.5
    center, width = image.window
    assert (center - 0.5 - (width - 1) / 2, center - 0.5 + (width - 1) / 2) == (4095 - high, 4095 - low)


def test_ct_becomes_hounsfield_units(make_dicom):
    stored = np.array([[0, 1024, 4095]], np.uint16)
    image = dicom.read(make_dicom(stored, BitsStored=12, RescaleSlope="1", RescaleIntercept="-1024", RescaleType="HU"))
    assert image.pixels.dtype == np.int16
    assert image.pixels.tolist() == [[-1024, 0, 3071]]
    assert image.bits_stored == 16


def test_a_rescale_that_is_no_integer_map_is_left_off_and_said(make_dicom):
    image = dicom.read(make_dicom(GRAY12, BitsStored=12, RescaleSlope="0.37", RescaleIntercept="0", WindowCenter="5"))
    np.testing.assert_array_equal(image.pixels, GRAY12)
    assert image.window is None
    assert "stored values kept" in image.notes[0]


def test_header_facts_and_identifiers_are_apart(make_dicom):
    data = make_dicom(
        GRAY12, BitsStored=12, PatientName="Phantom^Ada", PatientID="PH1", PatientSex="F", PatientAge="063Y",
        Modality="DX", BodyPartExamined="KNEE", ImageLaterality="L", ViewPosition="AP", Manufacturer="Phantom Works",
        SeriesInstanceUID="2.25.77", ImagerPixelSpacing=["0.2", "0.3"], WindowCenter=["2000", "9"],
        WindowWidth=["500", "9"],
    )  # fmt: skip
    image = dicom.read(data)
    assert image.facts == {
        "modality": "DX", "body_part": "KNEE", "laterality": "L", "view": "AP", "manufacturer": "Phantom Works",
        "sex": "F", "age": "063Y",
    }  # fmt: skip
    assert image.identifiers == {"patient_id": "PH1", "series_uid": "2.25.77", "sop_instance_uid": "2.25.1"}
    assert image.pixel_spacing_mm == (0.2, 0.3)
    assert image.window == (2000.0, 500.0)
    assert "Ada" not in repr(image)


def test_calibrated_spacing_comes_first(make_dicom):
    data = make_dicom(GRAY12, BitsStored=12, ImagerPixelSpacing=["0.2", "0.2"], PixelSpacing=["0.18", "0.18"])
    image = dicom.read(data)
    assert image.pixel_spacing_mm == (0.18, 0.18)
    assert dicom.read(make_dicom(GRAY12, BitsStored=12, PixelSpacing=["0", "0.2"])).pixel_spacing_mm is None


@pytest.mark.parametrize(
    ("birth", "study", "age"),
    [("19500301", "20200229", 69.0), ("19500301", "20200301", 70.0), ("", "20200301", None), ("1950", "20200301", None),
     ("20210101", "20200101", None)],
)  # fmt: skip
def test_age_from_dates(birth, study, age):
    assert dicom.age_from_dates(birth, study) == age


def test_an_age_is_computed_where_only_dates_are_given(make_dicom):
    image = dicom.read(make_dicom(GRAY12, BitsStored=12, PatientBirthDate="19500301", StudyDate="20200229"))
    assert image.facts["age"] == 69.0
    assert "1950" not in repr(image)


@pytest.mark.parametrize(
    ("elements", "words"),
    [
        ({"PixelData": None}, "no pixel data"),
        ({"NumberOfFrames": 5}, "multi-frame images (5 frames) are not supported yet"),
        ({"PhotometricInterpretation": "PALETTE COLOR"}, "Photometric Interpretation is PALETTE COLOR"),
        ({"PhotometricInterpretation": "JOHN DOE"}, "of an unknown kind"),
        ({"BitsAllocated": 32}, "(0028,0100) Bits Allocated is 32; supported: 8, 16"),
        ({"BitsStored": 17}, "(0028,0101) Bits Stored is 17; allowed: 1 to 16"),
        ({"BitsStored": None}, "BitsStored missing"),
        ({"Rows": 900}, "cannot be decoded as Explicit VR Little Endian"),
        ({"Rows": 60000, "Columns": 60000}, "allowed: 1 to"),
    ],
)
def test_refusals_say_why(make_dicom, elements, words):
    data = make_dicom(GRAY12, **elements)
    message = refusal(data)
    assert words in message
    assert "JOHN" not in message


def test_unsupported_transfer_syntax_is_named(make_dicom):
    explicit = b"1.2.840.10008.1.2.1\0"
    for other in (b"1.2.840.10008.1.2.77", b"1.3.6.1.4.1.99999.1\0"):
        data = make_dicom(GRAY12).replace(explicit, other, 1)
        assert refusal(data) == "unsupported transfer syntax: private or unknown"
    mpeg2 = b"1.2.840.10008.1.2.4.100\0"
    meta_length = lambda n: b"\x02\0\0\0UL\x04\0" + n.to_bytes(4, "little")  # noqa: E731
    data = make_dicom(GRAY12)
    length = int.from_bytes(data[140:144], "little")
    data = data.replace(meta_length(length), meta_length(length + 4), 1)
    data = data.replace(b"UI\x14\0" + explicit, b"UI\x18\0" + mpeg2, 1)
    assert refusal(data) == "unsupported transfer syntax: MPEG2 Main Profile / Main Level"


def test_what_is_not_dicom(make_dicom):
    assert "no DICM mark" in refusal(b"Dear colleague, the images are on the other disk.")
    assert refusal(b"") == "the file is empty"
    data = make_dicom(GRAY12)
    assert "damaged" in refusal(data[: len(data) - 40])
    assert refusal(data[:200])


def test_a_compressed_stream_cut_short_is_refused(make_dicom):
    data = make_dicom(GRAY12, compress=JPEGLSLossless, plugin="pyjpegls", BitsStored=12)
    assert "damaged" in refusal(data[:-60])


def test_damage_anywhere_is_a_refusal_or_an_image_never_a_crash(make_dicom):
    whole = make_dicom(GRAY12, BitsStored=12, PatientID="PH1", WindowCenter="5", WindowWidth="9", PixelSpacing=[1, 1])
    rng = np.random.default_rng(1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in range(150):
            data = bytearray(whole)
            for at in rng.integers(132, len(data), 4):
                data[at] = rng.integers(256)
            try:
                image = dicom.read(bytes(data))
            except Unreadable:
                continue
            assert image.pixels.dtype.name in ("uint8", "uint16", "int16")


@pytest.mark.parametrize(
    ("name", "head", "expected"),
    [
        ("a.dcm", b"text", "dicom"),
        ("A.JPG", b"", "raster"),
        ("IM0001", b"\0" * 128 + b"DICM", "dicom"),
        ("IM0001", b"\x89PNG\r\n\x1a\n", "raster"),
        ("x.nii.gz", b"", "unsupported:NIfTI"),
        ("notes.txt", b"hello", None),
    ],
)
def test_format_of(name, head, expected):
    assert format_of(name, head) == expected
