import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from synthcohort.imaging.intensity import (
    ValueRange,
    from_unit,
    invert,
    rescale,
    to_unit,
    unrescale,
    unwindow,
    value_range_of,
    window,
)


@pytest.mark.parametrize(
    ("dtype", "bits", "expected"),
    [
        (np.uint8, 8, (0, 255)),
        (np.uint16, 12, (0, 4095)),
        ("uint16", None, (0, 65535)),
        (np.uint16, [10, 12, 11], (0, 4095)),
        (np.uint8, [8, None], (0, 255)),
        (np.int16, 16, (-1024, 3071)),
    ],
)
def test_value_range_of(dtype, bits, expected):
    assert value_range_of(dtype, bits) == ValueRange(*expected)


def test_value_range_refuses_what_cohorts_do_not_hold():
    with pytest.raises(ValueError, match="float32"):
        value_range_of(np.float32, 16)
    with pytest.raises(ValueError, match="empty"):
        ValueRange(3, 3)


@pytest.mark.parametrize(
    ("dtype", "bits"), [(np.uint8, 8), (np.uint8, 1), (np.uint16, 10), (np.uint16, 12), (np.uint16, 16), (np.int16, 16)]
)
def test_every_integer_survives_the_way_there_and_back(dtype, bits):
    values = value_range_of(dtype, bits)
    image = np.arange(values.low, values.high + 1).astype(dtype)
    unit = to_unit(image, values)
    assert unit.dtype == np.float32
    assert unit[0] == -1.0
    assert abs(unit[-1] - 1.0) < 1e-6
    back = from_unit(unit, values, dtype)
    assert back.dtype == dtype
    np.testing.assert_array_equal(back, image)


@given(st.integers(-32768, 32766), st.integers(1, 65535), st.data())
def test_any_range_is_inverted_exactly(low, span, data):
    high = min(low + span, 32767)
    values = ValueRange(low, high)
    image = data.draw(hnp.arrays(np.int16, 20, elements=st.integers(low, high)))
    np.testing.assert_array_equal(from_unit(to_unit(image, values), values, np.int16), image)


def test_out_of_range_is_clipped_and_never_wraps():
    values = ValueRange(-1024, 3071)
    np.testing.assert_array_equal(to_unit(np.array([-3024, 9000], np.int16), values), [-1.0, 1.0])
    np.testing.assert_array_equal(from_unit([-5.0, 5.0], ValueRange(0, 255), np.uint8), [0, 255])
    with pytest.raises(ValueError, match="cannot hold"):
        from_unit([0.0], values, np.uint8)


@given(hnp.arrays(np.uint16, (3, 4), elements=st.integers(0, 4095)))
def test_inversion_is_its_own_inverse(image):
    negative = invert(image, 12)
    assert negative.dtype == image.dtype
    np.testing.assert_array_equal(negative.astype(int) + image, 4095)
    np.testing.assert_array_equal(invert(negative, 12), image)


@given(hnp.arrays(np.int16, (3, 4)))
def test_signed_inversion_never_overflows(image):
    np.testing.assert_array_equal(invert(image, 16).astype(int), -1 - image.astype(int))
    np.testing.assert_array_equal(invert(invert(image, 16), 16), image)


def test_inversion_refuses_values_wider_than_said():
    with pytest.raises(ValueError, match="12 bits"):
        invert(np.array([4096], np.uint16), 12)


@given(
    hnp.arrays(np.uint16, (2, 5), elements=st.integers(0, 4095)),
    st.sampled_from([1, 2, 4, -1]),
    st.sampled_from([-1024, 0, 7]),
)
def test_rescale_is_exact_and_inverted(stored, slope, intercept):
    values = rescale(stored, slope, intercept)
    assert values is not None
    np.testing.assert_array_equal(values.astype(int), stored.astype(int) * slope + intercept)
    np.testing.assert_array_equal(unrescale(values, slope, intercept, np.uint16), stored)


def test_rescale_dtype_follows_the_header_not_the_image():
    bright, dark = np.full((2, 2), 4000, np.uint16), np.zeros((2, 2), np.uint16)
    assert rescale(bright, 1, -1024).dtype == rescale(dark, 1, -1024).dtype == np.int16
    assert rescale(dark, 1, 0).dtype == np.uint16


def test_rescale_declines_what_is_not_an_exact_integer():
    stored = np.array([[60000]], np.uint16)
    assert rescale(stored, 0.5, 0) is None
    assert rescale(stored, 1, -0.25) is None
    assert rescale(stored, 1, -1024) is None  # 58976 does not fit int16
    assert rescale(stored, 0, 5) is None
    with pytest.raises(ValueError, match="did not come"):
        unrescale(np.array([3]), 2, 0, np.uint16)


def test_linear_window_is_the_standards_example():
    # DICOM PS3.3 C.11.2.1.2.1: c=2048, w=4096 maps 0..4095 onto the whole display range
    np.testing.assert_allclose(window([0, 2047.5, 4095], 2048, 4096), [0.0, 0.5, 1.0], atol=1e-6)
    np.testing.assert_array_equal(window([99, 100], 100, 1), [0.0, 1.0])
    np.testing.assert_allclose(window([-10, 0, 50, 100, 110], 50, 100, "LINEAR_EXACT"), [0, 0, 0.5, 1, 1])
    assert window([40.0], 40, 400, "SIGMOID")[0] == 0.5


functions = st.sampled_from(["LINEAR", "LINEAR_EXACT", "SIGMOID"])


@given(st.floats(-1000, 1000), st.floats(2, 4000), st.floats(0.01, 0.99), functions)
def test_window_is_undone_inside(center, width, level, function):
    value = unwindow(level, center, width, function)
    shown = window(value, center, width, function)
    np.testing.assert_allclose(unwindow(shown, center, width, function), value, atol=width * 2e-5)


def test_window_refuses_nonsense():
    with pytest.raises(ValueError, match="width 0"):
        window([1], 0, 0)
    with pytest.raises(ValueError, match="allowed: LINEAR"):
        window([1], 0, 5, "CUBIC")
