import io
import logging
import warnings

import numpy as np
import pydicom
import pytest
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
)

from synthcohort.formats import Unreadable, dicom, format_of
from synthcohort.formats.image import Source
from tests.formats.conftest import one, refusal

GRAY12 = np.random.default_rng(0).integers(0, 4096, (9, 7)).astype(np.uint16)


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
    image = one(make_dicom(pixels))
    assert image.pixels.dtype == pixels.dtype
    np.testing.assert_array_equal(image.pixels, pixels)
    assert image.bits_stored == 8 * pixels.dtype.itemsize
    assert (image.notes, image.part, image.frame) == ((), "", None)


def test_a_path_is_read_as_its_bytes_are_and_a_large_file_frame_by_frame(make_dicom, tmp_path, monkeypatch):
    pixels = np.arange(8 * 6 * 10, dtype=np.uint16).reshape(8, 6, 10)
    (tmp_path / "a.dcm").write_bytes(make_dicom(pixels, NumberOfFrames=8))
    for limit in (2**20, 10):
        monkeypatch.setattr("synthcohort.formats.dicom_file.WHOLE", limit)
        images = list(dicom.read(Source.of(tmp_path / "a.dcm")))
        np.testing.assert_array_equal([image.pixels for image in images], pixels)
    with pytest.raises(Unreadable, match="cannot be read"):
        list(dicom.read(tmp_path / "missing.dcm"))


@pytest.mark.parametrize(
    ("syntax", "plugin"),
    [(RLELossless, "pydicom"), (JPEGLSLossless, "pyjpegls"), (JPEG2000Lossless, "pylibjpeg")],
    ids=["rle", "jpeg-ls", "jpeg-2000"],
)
@pytest.mark.parametrize("signed", [False, True])
def test_lossless_syntaxes_are_lossless(make_dicom, syntax, plugin, signed):
    pixels = np.random.default_rng(0).integers(0, 4096, (40, 33)).astype(np.uint16)
    if signed:
        pixels = pixels.astype(np.int16) - 2048
    image = one(make_dicom(pixels, compress=syntax, plugin=plugin, BitsStored=12))
    np.testing.assert_array_equal(image.pixels, pixels)
    assert image.bits_stored == (16 if signed else 12)


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRBigEndian], ids=["implicit", "big-endian"])
def test_other_byte_orders(make_dicom, syntax):
    window = {"WindowCenter": "1000", "WindowWidth": "400"}
    image = one(make_dicom(GRAY12, syntax=syntax, BitsStored=12, **window))
    np.testing.assert_array_equal(image.pixels, GRAY12)
    assert (image.pixels.dtype, image.window) == (np.uint16, (1000.0, 400.0))
    odd = np.arange(45, dtype=np.uint8).reshape(3, 5, 3)  # frames of odd length, which share words where bytes swap
    images = dicom.read(make_dicom(odd, syntax=syntax, NumberOfFrames=3))
    np.testing.assert_array_equal([image.pixels for image in images], odd)


def test_bytes_in_words_of_big_endian(make_dicom):
    data = bytearray(range(45)) + b"\0"
    data[0::2], data[1::2] = data[1::2], data[0::2]
    pixels = np.zeros((3, 3, 5), np.uint8)
    swapped = make_dicom(pixels, syntax=ExplicitVRBigEndian, NumberOfFrames=3, PixelData=bytes(data))
    swapped = swapped.replace(b"\x7f\xe0\0\x10OB", b"\x7f\xe0\0\x10OW")
    np.testing.assert_array_equal([i.pixels for i in dicom.read(swapped)], np.arange(45).reshape(3, 3, 5))


def test_deflated_data_sets_are_inflated_within_a_limit(make_dicom, monkeypatch):
    ds = pydicom.dcmread(io.BytesIO(make_dicom(np.zeros((300, 300), np.uint16))))
    ds.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    file = io.BytesIO()
    ds.save_as(file)
    data = file.getvalue()
    assert len(data) < 5000
    assert one(data).pixels.shape == (300, 300)
    assert refusal(data[:-20]) == "damaged: cut off inside its deflated data set"
    monkeypatch.setattr("synthcohort.formats.dicom_file.INFLATED", 100_000)
    assert refusal(data) == "inflates to more than 100000 bytes"


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, None], ids=["implicit", "explicit"])
def test_a_bare_data_set_is_read_and_said(make_dicom, syntax):
    data = make_dicom(GRAY12, BitsStored=12, **({"syntax": syntax} if syntax else {}))
    bare = data[144 + int.from_bytes(data[140:144], "little") :]
    assert bare[:2] == b"\x08\0"
    assert dicom.looks_like_dicom(bare[:132])
    image = one(bare)
    np.testing.assert_array_equal(image.pixels, GRAY12)
    assert len(image.notes) == 2
    assert image.notes[1].startswith("read as uncompressed")


def test_monochrome1_is_inverted_with_its_window(make_dicom):
    data = make_dicom(
        GRAY12, BitsStored=12, PhotometricInterpretation="MONOCHROME1", WindowCenter="1000", WindowWidth="400"
    )
    image = one(data)
    np.testing.assert_array_equal(image.pixels, 4095 - GRAY12)
    assert "MONOCHROME1" in image.notes[0]
    # What was shown at level x must be shown at level 4095 - x: the window's ends move with it.
    low, high = 1000 - 0.5 - 199.5, 1000 - 0.5 + 199.5
    center, width = image.window
    assert (center - 0.5 - (width - 1) / 2, center - 0.5 + (width - 1) / 2) == (4095 - high, 4095 - low)


def test_ct_becomes_hounsfield_units(make_dicom):
    stored = np.array([[0, 1024, 4095]], np.uint16)
    image = one(make_dicom(stored, BitsStored=12, RescaleSlope="1", RescaleIntercept="-1024", RescaleType="HU"))
    assert image.pixels.dtype == np.int16
    assert image.pixels.tolist() == [[-1024, 0, 3071]]
    assert image.bits_stored == 16


def test_header_facts_and_identifiers_are_apart(make_dicom):
    data = make_dicom(
        GRAY12, BitsStored=12, PatientName="Phantom^Ada", PatientID="PH1", PatientSex="F", PatientAge="063Y",
        Modality="DX", BodyPartExamined="KNEE", ImageLaterality="L", ViewPosition="AP", Manufacturer="Phantom Works",
        SeriesInstanceUID="2.25.77", StudyInstanceUID="2.25.88", PixelSpacing=["0.2", "0.3"],
        WindowCenter=["2000", "9"], WindowWidth=["500", "9"],
    )  # fmt: skip
    image = one(data)
    assert image.facts == {
        "modality": "DX", "body_part": "KNEE", "laterality": "L", "view": "AP", "manufacturer": "Phantom Works",
        "sex": "F", "age": "063Y",
    }  # fmt: skip
    assert image.identifiers == {
        "patient_id": "PH1", "series_uid": "2.25.77", "sop_instance_uid": "2.25.1", "study_uid": "2.25.88",
    }  # fmt: skip
    assert image.pixel_spacing_mm == (0.2, 0.3)
    assert image.window == (2000.0, 500.0)
    assert (image.header.PatientID, "PixelData" in image.header) == ("PH1", False)


@pytest.mark.parametrize(
    ("birth", "study", "age"),
    [("19500301", "20200229", 69.0), ("19500301", "20200301", 70.0), ("", "20200301", None), ("1950", "20200301", None),
     ("20210101", "20200101", None)],
)  # fmt: skip
def test_age_from_dates(birth, study, age):
    assert dicom.age_from_dates(birth, study) == age


def test_an_age_is_computed_where_only_dates_are_given(make_dicom):
    image = one(make_dicom(GRAY12, BitsStored=12, PatientBirthDate="19500301", StudyDate="20200229"))
    assert image.facts["age"] == 69.0
    assert "1950" not in repr(image.facts)


@pytest.mark.parametrize(
    ("elements", "text"),
    [
        ({"Modality": "CT", "ImageType": ["ORIGINAL", "PRIMARY", "AXIAL"]}, False),
        ({"Modality": "CT", "ImageType": ["DERIVED", "PRIMARY"]}, True),
        ({"Modality": "CT", "ImageType": ["ORIGINAL", "SECONDARY"]}, True),
        ({"Modality": "CT"}, True),
        ({"Modality": "US", "ImageType": ["ORIGINAL", "PRIMARY"]}, True),
        ({"Modality": "US", "BurnedInAnnotation": "NO"}, False),
        ({"Modality": "CT", "ImageType": ["ORIGINAL", "PRIMARY"], "BurnedInAnnotation": "YES"}, True),
        ({"Modality": "MR", "ImageType": ["ORIGINAL", "PRIMARY"], "SOPClassUID": "1.2.840.10008.5.1.4.1.1.7"}, True),
    ],
)
def test_whether_text_may_be_burned_in(make_dicom, elements, text):
    assert one(make_dicom(GRAY12, BitsStored=12, **elements)).may_carry_text is text


STORAGE = "1.2.840.10008.5.1.4.1.1."


@pytest.mark.parametrize(
    ("elements", "words"),
    [
        ({"PixelData": None}, "no pixel data: not an image (CT Image Storage)"),
        ({"NumberOfFrames": 5, "PixelData": bytes(126)}, "shorter than its header says"),
        ({"NumberOfFrames": 2**21}, "Number of Frames is 2097152; allowed: 1 to 1048576"),
        ({"PhotometricInterpretation": "PALETTE COLOR"}, "damaged: a lookup table without a descriptor"),
        ({"PhotometricInterpretation": "JOHN DOE"}, "of an unknown kind"),
        ({"PhotometricInterpretation": "RGB"}, "Samples per Pixel is 1, which RGB does not have"),
        ({"PhotometricInterpretation": "CMYK"}, "Photometric Interpretation is CMYK; supported: MONOCHROME1"),
        ({"BitsAllocated": 12}, "(0028,0100) Bits Allocated is 12; supported: 1, 8, 16, 32"),
        ({"BitsStored": 17}, "(0028,0101) Bits Stored is 17; allowed: 1 to 16"),
        ({"BitsStored": None}, "BitsStored missing"),
        ({"Rows": 900}, "shorter than its header says"),
        ({"Rows": 60000, "Columns": 60000}, "allowed: 1 to"),
        ({"Rows": 0}, "allowed: 1 to"),
        ({"SOPClassUID": STORAGE + "88.33"}, "not an image: a structured report (Comprehensive SR Storage)"),
        ({"SOPClassUID": STORAGE + "104.1"}, "a document in a DICOM envelope (Encapsulated PDF Storage)"),
        ({"SOPClassUID": STORAGE + "11.1"}, "not an image: a presentation state"),
        ({"SOPClassUID": STORAGE + "66.4"}, "not an image: a segmentation"),
        ({"SOPClassUID": STORAGE + "481.2"}, "not an image: a radiotherapy object (RT Dose Storage)"),
        ({"SOPClassUID": "2.25.4711", "PixelData": None}, "no pixel data: not an image"),
    ],
)
def test_refusals_say_why(make_dicom, elements, words):
    data = make_dicom(np.zeros((2, 9, 7), np.uint16) if elements.get("NumberOfFrames") else GRAY12, **elements)
    message = refusal(data)
    assert words in message
    assert "JOHN" not in message
    assert "4711" not in message


def test_a_whole_slide_image_is_taken_only_as_a_single_tile(make_dicom):
    slide = {"SOPClassUID": STORAGE + "77.1.6", "Modality": "SM"}
    tiles = np.zeros((2, 4, 4, 3), np.uint8)
    assert "whole-slide image of more than one tile" in refusal(make_dicom(tiles, NumberOfFrames=2, **slide))
    assert one(make_dicom(tiles[0], **slide)).facts["modality"] == "SM"


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
    assert refusal(data[: len(data) - 40]) == "damaged: cut off inside its pixel data"
    for end in range(132, len(data) - 140, 9):
        assert refusal(data[:end])


def test_no_warning_and_no_log_of_a_header(make_dicom, caplog):
    data = make_dicom(GRAY12, BitsStored=12, PatientID="PH1", StudyDate="20200101")
    data = data.replace(b"20200101", b"JOHN DOE").replace(b"PH1 ", b"P\\\0\xff")
    with caplog.at_level(logging.DEBUG), warnings.catch_warnings():
        warnings.simplefilter("error")
        assert one(data).facts == {}
    assert caplog.text == ""
    assert logging.getLogger("pydicom").isEnabledFor(logging.ERROR)


@pytest.mark.parametrize(
    ("name", "head", "expected"),
    [
        ("a.dcm", b"text", "dicom"),
        ("IM0001", b"\0" * 128 + b"DICM", "dicom"),
        ("notes.txt", b"hello", None),
    ],
)
def test_format_of(name, head, expected):
    assert format_of(name, head) == expected
