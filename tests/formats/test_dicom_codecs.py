import base64
import io

import gdcm
import numpy as np
import PIL.Image
import pytest
from pydicom.uid import (
    JPEG2000,
    HTJ2KLossless,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

from synthcohort.formats import Unreadable
from synthcohort.formats.dicom_codecs import OTHER_COLORS, decode, inspect_jpeg, segments
from tests.formats.conftest import one, refusal

# One picture of 12 bits, row * column * 37 modulo 4096, encoded by libraries that decode nothing here: OpenJPH 0.26
# (reversible), liblj92, and libjpeg-turbo 3 (12 bits, quality 95), whose own decoder gave LOSSY.
PICTURE = (np.outer(np.arange(9), np.arange(7)) * 37 % 4096).astype(np.uint16)
HTJ2K_STREAM = base64.b64decode(
    "/0//UQApQAAAAAAHAAAACQAAAAAAAAAAAAAABwAAAAkAAAAAAAAAAAABDwEB/1AACAACAAAACv9SAAwAAgABAAUEBEAB/1wAEyCIkJCQkJCQkJCQ"
    "kJCQiIiI/2QAFwABT3BlbkpQSCBWZXIgMC4yNi4zLv+QAAoAAAAAADoAAf+TwAAmZf0FB3QAAMAAEwAy/QKHdADAABMAZvoDD3QAwAAVIE48+QAo"
    "jIPWAAD/2Q=="
)
LOSSLESS_STREAM = base64.b64decode(
    "/9j/xAAYAAEBAQEBAAAAAAAAAAAAAAAHBgAIDP/DAAsMAAkABwEAEQD/2gAIAQAABgAA8/8A7bbaluEpdb+gtS3CUut/QWpbhKXW/oLUtwlLrf0F"
    "qW4Sl1v6C1LcJS639BaluEpdb+gtS3CUut/QQP/Z"
)
EXTENDED_STREAM = base64.b64decode(
    "/9j/4AAQSkZJRgABAQAAAQABAAD/2wBDAAIBAQEBAQIBAQECAgICAgQDAgICAgUEBAMEBgUGBgYFBgYGBwkIBgcJBwYGCAsICQoKCgoKBggLDAsK"
    "DAkKCgr/wQALDAAJAAcBAREA/8QAFQABAQAAAAAAAAAAAAAAAAAADA3/xAArEAAAAQcLBQAAAAAAAAAAAAASAAMEBQcMEQECBggNExQVFhcYGzlS"
    "eLb/2gAIAQEAAD8Ajabu9u431YuqtRBt3BHcrP2fH15fabxYgIM9IFEEvjEkZFmRHZ8Yn61rD58+X//Z"
)
LOSSY = [
    [0, 0, 1, 0, 0, 0, 0], [1, 37, 74, 112, 149, 187, 221], [0, 75, 147, 221, 295, 370, 444],
    [1, 113, 222, 332, 443, 555, 667], [0, 146, 296, 444, 593, 740, 887], [2, 184, 371, 555, 741, 925, 1110],
    [0, 222, 444, 665, 887, 1108, 1334], [0, 261, 517, 777, 1038, 1295, 1554], [0, 296, 592, 888, 1185, 1480, 1776],
]  # fmt: skip


@pytest.mark.parametrize(
    ("stream", "syntax", "expected"),
    [
        (HTJ2K_STREAM, HTJ2KLossless, PICTURE),
        (LOSSLESS_STREAM, JPEGLosslessSV1, PICTURE),
        (EXTENDED_STREAM, JPEGExtended12Bit, LOSSY),
    ],
    ids=["htj2k", "jpeg-lossless", "jpeg-12-bit"],
)
def test_streams_of_other_encoders(make_dicom, capfd, stream, syntax, expected):
    image = one(make_dicom(PICTURE, encapsulated=[stream], syntax=syntax, BitsStored=12))
    assert (image.pixels.dtype, image.bits_stored, image.notes) == (np.uint16, 12, ())
    np.testing.assert_array_equal(image.pixels, expected)
    assert capfd.readouterr() == ("", "")


def lossless(data, folder):
    """The same file as lossless JPEG, encoded by GDCM."""
    (folder / "in.dcm").write_bytes(data)
    reader, change, writer = gdcm.ImageReader(), gdcm.ImageChangeTransferSyntax(), gdcm.ImageWriter()
    reader.SetFileName(str(folder / "in.dcm"))
    assert reader.Read()
    change.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.JPEGLosslessProcess14_1))
    change.SetInput(reader.GetImage())
    assert change.Change()
    writer.SetFileName(str(folder / "out.dcm"))
    writer.SetFile(reader.GetFile())
    writer.SetImage(change.GetOutput())
    assert writer.Write()
    return (folder / "out.dcm").read_bytes()


@pytest.mark.parametrize(("bits", "signed"), [(8, False), (10, False), (12, True), (16, False), (16, True)])
def test_lossless_jpeg_of_any_depth(make_dicom, tmp_path, bits, signed):
    low = -(2 ** (bits - 1)) if signed else 0
    kind = np.int16 if signed else np.uint16 if bits > 8 else np.uint8
    pixels = np.random.default_rng(bits).integers(low, low + 2**bits, (30, 41)).astype(kind)
    image = one(lossless(make_dicom(pixels, BitsStored=bits), tmp_path))
    np.testing.assert_array_equal(image.pixels, pixels)
    assert image.pixels.dtype == kind


def test_lossless_jpeg_of_colors(make_dicom, tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (30, 41, 3)).astype(np.uint8)
    np.testing.assert_array_equal(one(lossless(make_dicom(pixels), tmp_path)).pixels, pixels)


def picture(mode="RGB", size=(40, 30)):
    noise = np.random.default_rng(1).integers(0, 256, (size[1] // 5, size[0] // 5, 3)).astype(np.uint8)
    return PIL.Image.fromarray(np.kron(noise, np.ones((5, 5, 1), np.uint8))).convert(mode)


def jpeg(mode="RGB", size=(40, 30), **options):
    file = io.BytesIO()
    picture(mode, size).save(file, "JPEG", quality=95, **options)
    return file.getvalue()


@pytest.mark.parametrize(("header", "notes"), [("YBR_FULL_422", ()), ("RGB", (OTHER_COLORS,))])
def test_a_jfif_mark_says_that_colors_are_ybr_whatever_the_header_says(make_dicom, header, notes):
    stream = jpeg(subsampling=0)
    assert b"JFIF" in stream
    pixels = np.asarray(picture())
    data = make_dicom(pixels, encapsulated=[stream], syntax=JPEGBaseline8Bit, PhotometricInterpretation=header)
    image = one(data)
    assert image.notes == notes
    assert np.abs(image.pixels.astype(int) - pixels).max() < 30  # JPEG; unconverted YBR would be off by far more
    assert inspect_jpeg(stream).color == "ybr"


def test_gray_jpeg_in_sixteen_bit_cells(make_dicom):
    stream = jpeg("L")
    data = make_dicom(np.zeros((30, 40), np.uint16), encapsulated=[stream], syntax=JPEGBaseline8Bit, BitsStored=8)
    image = one(data)
    assert image.pixels.dtype == np.uint8
    np.testing.assert_array_equal(image.pixels, np.asarray(PIL.Image.open(io.BytesIO(stream))))


def test_jpeg_2000_whose_sign_contradicts_the_header(make_dicom):
    pixels = (np.arange(1600) * 2).astype(np.uint16).reshape(40, 40)
    unsigned = make_dicom(pixels, compress=JPEG2000Lossless, plugin="pylibjpeg", BitsStored=12)
    signed = one(unsigned.replace(b"\x28\0\x03\x01US\x02\0\0\0", b"\x28\0\x03\x01US\x02\0\1\0"))
    # The same twelve bits: from 2048 up they are negative numbers.
    np.testing.assert_array_equal(signed.pixels, np.where(pixels < 2048, pixels, pixels - 4096.0))


def test_values_beyond_bits_stored_are_refused(make_dicom):
    data = make_dicom(PICTURE, encapsulated=[HTJ2K_STREAM], syntax=HTJ2KLossless, BitsStored=8)
    assert refusal(data) == "(0028,0101) Bits Stored is too small for its pixel values"


@pytest.mark.parametrize(
    ("stream", "syntax", "words"),
    [
        (jpeg("L", (45, 30)), JPEGBaseline8Bit, "another size than its header says"),
        (jpeg("RGB"), JPEGBaseline8Bit, "another size than its header says"),
        (jpeg("L")[:-40], JPEGBaseline8Bit, "cut off or garbled"),
        (jpeg("L")[2:], JPEGBaseline8Bit, "does not begin as JPEG does"),
        (b"", JPEGBaseline8Bit, "cut off or garbled"),
        (jpeg("L"), JPEGLSLossless, "is no JPEG-LS"),
        (jpeg("L"), JPEG2000, "does not begin as JPEG 2000 does"),
        (HTJ2K_STREAM, HTJ2KLossless, "another size than its header says"),
        (b"\xff\x4f\xff\x51" + b"\0" * 60, JPEG2000, "subsampled components"),
        (HTJ2K_STREAM.replace(b"\1\x0f\1\1", b"\1\x0f\2\1", 1), JPEG2000, "subsampled components"),
        (LOSSLESS_STREAM.replace(b"\xff\xc3", b"\xff\xc9"), JPEGLosslessSV1, "another size"),
        (b"\3" + b"\0" * 63 + b"\0" * 80, RLELossless, "cannot be decoded as RLE Lossless"),
        (b"\1" + b"\0" * 10, RLELossless, "too short"),
    ],
)
def test_streams_that_are_refused(stream, syntax, words):
    with pytest.raises(Unreadable, match=words):
        decode(stream, syntax, (30, 40), 8)


def test_a_stream_that_asks_for_gigabytes_is_refused_before_a_codec_sees_it():
    huge = bytearray(HTJ2K_STREAM)
    huge[8:16] = huge[24:32] = (60000).to_bytes(4, "big") * 2  # image and tile; its header says 9 x 7
    with pytest.raises(Unreadable, match="another size"):
        decode(bytes(huge), HTJ2KLossless, (9, 7), 16)
    with pytest.raises(Unreadable, match="few compressed bytes"):
        decode(bytes(huge), HTJ2KLossless, (16000, 16000), 16)
    tiles = bytearray(HTJ2K_STREAM)
    tiles[8:16], tiles[24:32] = (1000).to_bytes(4, "big") * 2, (1).to_bytes(4, "big") * 2
    with pytest.raises(Unreadable, match="too many tiles"):
        decode(bytes(tiles), HTJ2KLossless, (1000, 1000), 16)


def test_segments_put_together_are_the_stream():
    stream = jpeg()
    found = list(segments(stream))
    again = b"".join(
        bytes((0xFF, marker)) + (len(body) + 2).to_bytes(2, "big") + body + data for marker, body, data in found
    )
    assert b"\xff\xd8" + again + b"\xff\xd9" == stream
