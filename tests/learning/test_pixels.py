import numpy as np
import pytest

from synthcohort.imaging.intensity import ValueRange
from synthcohort.learning.pixels import Pixels


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16"])
def test_the_applied_range_is_that_of_the_dtype(dtype):
    low, high = {"uint8": (0, 255), "uint16": (0, 65535), "int16": (-1024, 3071)}[dtype]
    image = np.full((4, 4), low, dtype)
    image[0, 0] = high
    x = Pixels([image]).batch([0])
    assert x.shape == (1, 1, 4, 4)
    assert x.dtype.is_floating_point
    assert float(x.max()) == pytest.approx(1)
    assert float(x.min()) == pytest.approx(-1)


def test_a_cohort_gives_its_bit_depth_and_its_digest(made, tmp_path):
    cohort = made.people(tmp_path / "c", 3)
    pixels = Pixels(cohort)
    assert pixels.value_range == ValueRange(0, 255)
    assert pixels.digest() == cohort.pixels_digest
    as_array = Pixels(cohort.images())
    assert np.array_equal(pixels.batch([2, 0]), as_array.batch([2, 0]))


def test_mixed_shapes_need_a_size():
    images = [np.zeros((8, 10), np.uint8), np.zeros((9, 9), np.uint8)]
    assert Pixels(images, size=16).batch([0, 1]).shape == (2, 1, 16, 16)
    with pytest.raises(ValueError, match="several shapes"):
        Pixels(images).batch([0, 1])


def test_color_becomes_gray_and_gray_becomes_color():
    color = np.zeros((5, 5, 3), np.uint8)
    color[..., 1] = 255
    assert float(Pixels([color], channels=1).batch([0]).mean()) == pytest.approx(-1 / 3, abs=1e-6)
    assert Pixels([color[..., 0]], channels=3).batch([0]).shape == (1, 3, 5, 5)


def test_an_unusable_dtype_is_refused():
    with pytest.raises(ValueError, match="int64"):
        Pixels([np.zeros((4, 4), np.int64)]).batch([0])
