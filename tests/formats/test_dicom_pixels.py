"""From cells to modality values: every number against what the standard says, done slowly."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from pydicom.uid import ExplicitVRBigEndian, ImplicitVRLittleEndian

from synthcohort.formats import Unreadable, dicom
from synthcohort.formats import dicom_pixels as pixels_of
from synthcohort.formats.dicom_tables import expand
from synthcohort.imaging.intensity import rescale
from tests.formats.conftest import build, item, one, refusal

SHAPE = (4, 5)


@st.composite
def cells(draw):
    """Stored values, and the cells that hold them at some high bit with anything in the bits around."""
    allocated = draw(st.sampled_from([8, 16]))
    bits = draw(st.integers(1, allocated))
    high = draw(st.integers(bits - 1, allocated - 1))
    signed = draw(st.booleans())
    low = -(2 ** (bits - 1)) if signed else 0
    stored = draw(arrays.arrays(np.int64, SHAPE, elements=st.integers(low, low + 2**bits - 1)))
    noise = draw(arrays.arrays(np.int64, SHAPE, elements=st.integers(0, 2**allocated - 1)))
    own = (2**bits - 1) << (high + 1 - bits)
    raw = ((stored % 2**bits) << (high + 1 - bits)) | (noise & ~own)
    return stored, raw.astype(f"u{allocated // 8}"), bits, high, signed


@settings(max_examples=200, deadline=None)
@given(cells(), st.sampled_from([None, ExplicitVRBigEndian, ImplicitVRLittleEndian]))
def test_stored_values_come_out_of_any_bits_of_a_cell(made, syntax):
    stored, raw, bits, high, signed = made
    kind = {} if syntax is None else {"syntax": syntax}
    image = one(build(raw, BitsStored=bits, HighBit=high, PixelRepresentation=int(signed), **kind))
    np.testing.assert_array_equal(image.pixels, stored)
    assert image.pixels.dtype == (np.int16 if signed else np.uint8 if bits <= 8 else np.uint16)
    assert image.bits_stored == (16 if signed else bits)


def test_overlays_in_unused_bits_are_cleared_and_said():
    raw = np.array([[0x1234, 0x0FFF]], np.uint16)
    image = one(build(raw, BitsStored=12))
    assert image.pixels.tolist() == [[0x234, 0xFFF]]
    assert image.notes == (pixels_of.CLEARED,)
    assert one(build(raw & 0xFFF, BitsStored=12)).notes == ()


def test_an_impossible_high_bit_is_said():
    image = one(build(np.array([[1, 4095]], np.uint16), BitsStored=12, HighBit=3))
    assert image.pixels.tolist() == [[1, 4095]]
    assert "High Bit cannot be right" in image.notes[0]


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_rescale_is_that_of_the_standard(data):
    kind = data.draw(st.sampled_from([np.uint8, np.uint16, np.int16]))
    bits = data.draw(st.integers(2, 8 * np.dtype(kind).itemsize))
    low = -(2 ** (bits - 1)) if kind is np.int16 else 0
    stored = data.draw(arrays.arrays(kind, SHAPE, elements=st.integers(low, low + 2**bits - 1)))
    slope = data.draw(st.sampled_from([1, 2, -1, -3, 16, 0, 0.5, 40000]))
    intercept = data.draw(st.sampled_from([0, -1024, 1000, -40000, 0.25, 33000]))
    wanted = rescale(stored, slope, intercept)
    found = pixels_of.rescaled(stored, slope, intercept, bits)
    assert (found is None) == (wanted is None)
    if wanted is not None:
        assert found.dtype == wanted.dtype
        np.testing.assert_array_equal(found, wanted)


def test_a_rescale_that_is_no_integer_map_is_left_off_and_its_window_moves_along():
    stored = np.array([[0, 1000, 4095]], np.uint16)
    elements = {"RescaleSlope": "0.5", "RescaleIntercept": "10", "WindowCenter": "110.5", "WindowWidth": "101"}
    image = one(build(stored, BitsStored=12, **elements))
    np.testing.assert_array_equal(image.pixels, stored)
    assert image.notes == (pixels_of.KEPT,)
    # The window's ends, 60 and 160, are the stored values 100 and 300.
    center, width = image.window
    assert (center - 0.5 - (width - 1) / 2, center - 0.5 + (width - 1) / 2) == (100, 300)
    inverted = one(build(stored, BitsStored=12, PhotometricInterpretation="MONOCHROME1", **elements))
    np.testing.assert_array_equal(inverted.pixels, 4095 - stored)
    center, width = inverted.window
    assert (center - 0.5 - (width - 1) / 2, center - 0.5 + (width - 1) / 2) == (3795, 3995)
    assert one(build(stored, BitsStored=12, RescaleSlope="0.37", WindowCenter="5")).window is None


CT = {"Modality": "CT", "RescaleSlope": "1", "RescaleIntercept": "-1024"}


@pytest.mark.parametrize(
    ("stored", "padding", "elements", "expected"),
    [
        # Signed CT with padding far below air, as most scanners write it.
        (np.array([[-2000, 0, 1024]], np.int16), {"PixelPaddingValue": -2000}, CT, [[-1024, -1024, 0]]),
        # The same in twelve unsigned bits: the padding uses the bits above them.
        (np.array([[63536, 24, 1024]], np.uint16), {"PixelPaddingValue": 63536, "BitsStored": 12}, CT,
         [[-1024, -1000, 0]]),
        # Padding that would not even fit in 16 bits as Hounsfield units.
        (np.array([[65535, 24, 1024]], np.uint16), {"PixelPaddingValue": 65535}, CT, [[-1024, -1000, 0]]),
        # A range, given the other way round.
        (np.array([[-2000, -1500, 5]], np.int16), {"PixelPaddingValue": -1500, "PixelPaddingRangeLimit": -2000}, CT,
         [[-1024, -1024, -1019]]),
        # Unsigned images that are no CT: zero.
        (np.array([[4095, 5, 77]], np.uint16), {"PixelPaddingValue": 4095, "BitsStored": 12}, {"Modality": "MR"},
         [[0, 5, 77]]),
        # Bright padding of an inverted image becomes dark, not the brightest.
        (np.array([[0, 5, 4095]], np.uint16),
         {"PixelPaddingValue": 0, "BitsStored": 12, "PhotometricInterpretation": "MONOCHROME1"}, {"Modality": "MG"},
         [[0, 4090, 0]]),
        # Signed images that are no CT: the lowest of the others.
        (np.array([[-32768, -5, 77]], np.int16), {"PixelPaddingValue": -32768}, {"Modality": "PT"}, [[-5, -5, 77]]),
        # Nothing else there at all.
        (np.array([[7, 7]], np.int16), {"PixelPaddingValue": 7}, {"Modality": "PT"}, [[0, 0]]),
        (np.array([[7, 7]], np.int16), {"PixelPaddingValue": 7}, CT, [[-1024, -1024]]),
    ],
)  # fmt: skip
def test_padding_becomes_the_lowest_value(stored, padding, elements, expected):
    image = one(build(stored, **elements, **padding))
    assert image.pixels.tolist() == expected
    assert pixels_of.PADDED in image.notes


def test_padding_of_another_sign_than_the_pixels_is_the_same_cell():
    data = build(np.array([[-2000, 0]], np.int16), PixelPaddingValue=-2000, **CT)
    assert b"SS\x02\0\x30\xf8" in data
    assert one(data.replace(b"SS\x02\0\x30\xf8", b"US\x02\0\x30\xf8")).pixels.tolist() == [[-1024, -1024]]


def test_padding_that_is_not_there_or_is_the_lowest_value_changes_nothing():
    stored = np.array([[0, 5, 77]], np.uint16)
    for padding in (0, 99):
        image = one(build(stored, BitsStored=12, Modality="MR", PixelPaddingValue=padding))
        assert (image.pixels.tolist(), image.notes) == ([[0, 5, 77]], ())


@settings(max_examples=100, deadline=None)
@given(arrays.arrays(np.int16, SHAPE, elements=st.integers(-3000, 3000)), st.integers(-3000, 3000), st.booleans())
def test_padding_in_any_place(stored, padding, ct):
    modality = CT if ct else {"Modality": "PT"}
    image = one(build(stored, PixelPaddingValue=padding, **modality))
    others = stored[stored != padding].astype(int)
    values = stored.astype(int) - (1024 if ct else 0)
    lowest = -1024 if ct else int(others.min()) if others.size else 0
    np.testing.assert_array_equal(image.pixels, np.where(stored == padding, lowest, values))


def test_ct_numbers_beyond_16_bits_are_refused_not_silently_left_as_stored():
    assert refusal(build(np.array([[65535, 5]], np.uint16), **CT)) == "its CT numbers do not fit in 16 bits"


def test_one_bit_becomes_black_and_white():
    bits = np.random.default_rng(0).integers(0, 2, (3, 5, 7)).astype(np.uint8)
    packed = np.packbits(bits.ravel(), bitorder="little").tobytes()
    data = build(bits, NumberOfFrames=3, BitsAllocated=1, BitsStored=1, PixelData=packed + b"\0" * (len(packed) % 2))
    images = list(dicom.read(data))
    np.testing.assert_array_equal([image.pixels for image in images], bits * 255)
    assert (images[0].bits_stored, images[0].notes) == (8, (pixels_of.ONE_BIT,))


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (np.array([[0, 65535]], np.uint32), np.uint16),
        (np.array([[-5, 32767]], np.int32), np.int16),
        (np.array([[0, 65535]], np.int32), np.uint16),
        (np.array([[0, 65536]], np.uint32), None),
        (np.array([[-1, 65535]], np.int32), None),
        (np.array([[-5, 32767]], np.float32), np.int16),
        (np.array([[0, 65535]], np.float64), np.uint16),
        (np.array([[0.5, 1]], np.float32), None),
        (np.array([[np.nan, 1]], np.float32), None),
        (np.array([[np.inf, 1]], np.float64), None),
    ],
)
def test_wide_and_floating_pixels_are_taken_when_they_are_whole_numbers_of_16_bits(values, kind):
    elements = {}
    if values.dtype.kind == "f":
        name = "FloatPixelData" if values.dtype == np.float32 else "DoubleFloatPixelData"
        elements = {"PixelData": None, name: values.tobytes(), "BitsStored": None, "PixelRepresentation": None}
        elements["HighBit"] = None
    data = build(values, **elements)
    if kind is None:
        assert refusal(data) == "pixel values that are not whole numbers of 16 bits are not supported"
        return
    image = one(data)
    assert image.pixels.dtype == kind
    np.testing.assert_array_equal(image.pixels, values)


def test_floating_padding():
    values = np.array([[-1e30, 3, 4]], np.float32)
    data = build(
        values, PixelData=None, BitsStored=None, PixelRepresentation=None, HighBit=None,
        FloatPixelData=values.tobytes(), FloatPixelPaddingValue=float(values[0, 0]),
    )  # fmt: skip
    assert one(data).pixels.tolist() == [[3, 3, 4]]


@settings(max_examples=60, deadline=None)
@given(arrays.arrays(np.uint8, (4, 5, 3)), st.booleans())
def test_colors_by_pixel_and_by_plane(pixels, planes):
    stored = np.ascontiguousarray(np.moveaxis(pixels, -1, 0)) if planes else pixels
    image = one(build(pixels, PlanarConfiguration=int(planes), PixelData=stored.tobytes()))
    np.testing.assert_array_equal(image.pixels, pixels)


@settings(max_examples=100, deadline=None)
@given(arrays.arrays(np.uint8, (4, 5, 3)), st.booleans())
def test_ybr_to_rgb(pixels, partial):
    y, cb, cr = (
        pixels[..., i].astype(np.float64) - offset for i, offset in enumerate((16 if partial else 0, 128, 128))
    )
    luma = 1.1644 * y if partial else y
    red, green_blue, green_red, blue = (1.596, 0.3917, 0.813, 2.0173) if partial else (1.402, 0.344136, 0.714136, 1.772)
    rgb = np.stack([luma + red * cr, luma - green_blue * cb - green_red * cr, luma + blue * cb], axis=-1)
    expected = np.clip(np.floor(np.round(rgb + 0.5, 9)), 0, 255)
    np.testing.assert_array_equal(pixels_of.to_rgb(pixels, 8, partial), expected)


def test_ybr_whose_chroma_is_shared_by_two_pixels():
    ybr = np.random.default_rng(0).integers(0, 256, (4, 3, 4)).astype(np.uint8)  # rows, pairs, Y1 Y2 B R
    full = np.stack([ybr[..., :2], ybr[..., 2:3].repeat(2, -1), ybr[..., 3:].repeat(2, -1)], -1).reshape(4, 6, 3)
    data = build(full, PhotometricInterpretation="YBR_FULL_422", PixelData=ybr.tobytes())
    np.testing.assert_array_equal(one(data).pixels, pixels_of.to_rgb(full, 8))
    whole = build(full, PhotometricInterpretation="YBR_FULL_422")
    assert refusal(whole) == "damaged: its header says YBR_FULL_422, but its pixel data are not subsampled"


NAMES = ("Red", "Green", "Blue")


def with_palette(stored, tables, first=0, bits=16, segmented=False, **elements):
    """A palette image; tables: bytes for each color."""
    prefix, count = ("Segmented" if segmented else ""), elements.pop("count", len(tables[0]) // (bits // 8))
    for name, table in zip(NAMES, tables, strict=True):
        elements[f"{name}PaletteColorLookupTableDescriptor"] = [count % 65536, first, bits]
        elements[f"{prefix}{name}PaletteColorLookupTableData"] = table
    return build(stored, PhotometricInterpretation="PALETTE COLOR", **elements)


@settings(max_examples=80, deadline=None)
@given(st.data())
def test_palettes(data):
    kind = data.draw(st.sampled_from([np.uint8, np.uint16]))
    count, first = data.draw(st.integers(2, 300)), data.draw(st.integers(0, 200))
    stored = data.draw(arrays.arrays(kind, SHAPE, elements=st.integers(0, 255)))
    bits = data.draw(st.sampled_from([8, 16]))
    table = data.draw(arrays.arrays(f"<u{bits // 8}", (3, count)))
    table[:, 0] = 1, 2, 3  # neither grays nor 8 bits in 16
    padded = [t.tobytes() + b"\0" * (t.nbytes % 2) for t in table]
    image = one(with_palette(stored, padded, first, bits, count=count))
    expected = table.T[np.clip(stored.astype(int) - first, 0, count - 1)]
    assert image.pixels.dtype == table.dtype
    np.testing.assert_array_equal(image.pixels, expected)
    assert image.bits_stored == bits


def test_a_palette_of_grays_gives_grays_and_8_bits_in_16_become_8():
    stored = np.array([[0, 1, 255]], np.uint8)
    ramp = np.arange(256, dtype="<u2")
    for table in (ramp * 256, ramp * 257):
        image = one(with_palette(stored, [table.tobytes()] * 3))
        assert (image.pixels.tolist(), image.pixels.dtype, image.bits_stored) == ([[0, 1, 255]], np.uint8, 8)
    deep = one(with_palette(stored, [(ramp * 200).tobytes()] * 3))
    assert (deep.pixels.tolist(), deep.pixels.dtype) == ([[0, 200, 51000]], np.uint16)
    assert "grays" in deep.notes[0]


def test_palettes_in_big_endian_and_implicit_files():
    stored, table = np.array([[0, 1, 2]], np.uint8), np.array([5, 60000, 1234], np.uint16)
    for syntax, order in ((ExplicitVRBigEndian, ">"), (ImplicitVRLittleEndian, "<")):
        tables = [table.astype(f"{order}u2").tobytes(), *[bytes(6)] * 2]
        assert one(with_palette(stored, tables, syntax=syntax)).pixels[..., 0].tolist() == [[5, 60000, 1234]]


@pytest.mark.parametrize(
    ("tables", "elements", "words"),
    [
        ([bytes(20)] * 3, {"count": 256}, "another length than its descriptor says"),
        ([bytes(512), bytes(512), bytes(8)], {}, "another length"),
        ([bytes(512)] * 3, {"bits": 40, "count": 256}, "a lookup table of 40 bits"),
    ],
)
def test_damaged_palettes_are_refused(tables, elements, words):
    assert words in refusal(with_palette(np.zeros((2, 2), np.uint8), tables, **elements))


def test_segmented_palettes():
    # 10, 11, 12; then a line to 20 in four steps; then both segments once more.
    words = [0, 3, 10, 11, 12, 1, 4, 20, 2, 2, 0, 0]
    values = [10, 11, 12, 14, 16, 18, 20]
    assert expand(words, 14, 2) == values * 2
    stored = np.arange(14, dtype=np.uint8).reshape(2, 7)
    tables = [np.array(words, "<u2").tobytes(), *[np.array([0, 1, 0, 1, 13, 0], "<u2").tobytes()] * 2]
    image = one(with_palette(stored, tables, segmented=True, count=14))
    assert image.pixels[..., 0].tolist() == [values, values]
    assert image.pixels[..., 1].max() == 0
    assert expand([0, 2, 7, 9, 2, 1, 0, 0, 0, 0], 4, 4) == [7, 9, 7, 9]  # offsets of four bytes
    for wrong in ([1, 4, 20], [3, 1, 1], [0, 1, 5, 2, 1, 4, 0], [0, 5, 1, 2, 3, 4, 5]):
        with pytest.raises(Unreadable):
            expand(wrong, 4, 2)


@pytest.mark.parametrize("order", ["explicit", "implicit"])
@pytest.mark.parametrize("signed", [False, True])
def test_modality_tables(order, signed):
    stored = np.array([[0, 5, 7, 200]], np.int16 if signed else np.uint16)
    first = 5
    lut = item(LUTDescriptor=[4, first, 16], LUTData=np.array([100, 50, 300, 9], "<u2").tobytes(), ModalityLUTType="US")
    lut["LUTData"].VR = "OW"
    elements = {"ModalityLUTSequence": [lut]} | ({"syntax": ImplicitVRLittleEndian} if order == "implicit" else {})
    image = one(build(stored, **elements))
    assert image.pixels.tolist() == [[100, 100, 300, 9]]
    assert (image.pixels.dtype, image.bits_stored) == (np.uint16, 16)
    assert image.notes == (pixels_of.LOOKED_UP,)
    window = {"WindowCenter": "100.5", "WindowWidth": "51"}
    inverted = one(build(stored, PhotometricInterpretation="MONOCHROME1", **elements, **window))
    assert inverted.pixels.tolist() == [[65435, 65435, 65235, 65526]]
    center, width = inverted.window
    assert (center - 0.5, width) == (65435, 51)
