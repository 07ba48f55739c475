import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from synthcohort.imaging.geometry import FITS, crop, pad, placement, resize

sides = st.integers(1, 40)


def noise(shape, dtype, seed=0):
    limits = np.iinfo(dtype)
    return np.random.default_rng(seed).integers(limits.min, limits.max, shape, dtype, endpoint=True)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int16])
@pytest.mark.parametrize("channels", [(), (3,)])
def test_resize_keeps_dtype_and_range(dtype, channels):
    image = noise((37, 23, *channels), dtype) // 2
    for rows, columns in [(10, 10), (80, 50), (37, 50)]:
        result = resize(image, rows, columns)
        assert result.dtype == dtype
        assert result.shape == (rows, columns, *channels)
        assert image.min() <= result.min()
        assert result.max() <= image.max()


@given(sides, sides, sides, sides, st.sampled_from([np.uint8, np.uint16, np.int16]))
def test_a_constant_stays_constant(rows, columns, new_rows, new_columns, dtype):
    image = np.full((rows, columns), 201, dtype)
    assert (resize(image, new_rows, new_columns) == 201).all()


@given(
    st.tuples(sides, sides, sides, sides), st.sampled_from([np.uint8, np.uint16, np.int16]), st.integers(1, 16),
    st.integers(0, 99),
)  # fmt: skip
def test_resize_gives_what_pillow_gives(shape, dtype, bits, seed):
    rows, columns, new_rows, new_columns = shape
    limits = np.iinfo(dtype)
    image = noise((5 * rows, 5 * columns), dtype, seed) % min(2**bits, int(limits.max))  # a few values too: ties
    image = image.astype(dtype)
    mode = image if dtype == np.uint8 else image.astype(np.float32)
    expected = np.asarray(Image.fromarray(mode).resize((new_columns, new_rows), Image.Resampling.BICUBIC))
    expected = np.rint(expected).clip(image.min(), image.max()).astype(dtype)
    assert np.array_equal(resize(image, new_rows, new_columns), expected)


def test_resize_keeps_native_depth():
    ramp = np.linspace(0, 65535, 4096).astype(np.uint16)[None].repeat(8, 0)
    assert len(np.unique(resize(ramp, 4, 2048))) > 2000


def test_shrinking_does_not_alias():
    # A checkerboard at the finest scale has nothing left below its Nyquist frequency but its mean.
    board = np.indices((128, 128)).sum(0) % 2 * 200
    small = resize(board.astype(np.uint8), 31, 31).astype(float)
    assert small.std() < 2.0
    positions = (np.arange(31) * 128) // 31
    assert board[np.ix_(positions, positions)].std() > 50  # plain subsampling would have kept a false pattern


def test_resize_is_aligned_by_pixel_corners():
    image = np.zeros((8, 8), np.uint8)
    image[:, 4:] = 200
    up = resize(image, 64, 64).astype(float)
    edge = np.interp(100, up[30], np.arange(64) + 0.5)
    assert abs(edge - 32.0) < 0.5


def test_8_bit_and_16_bit_paths_agree():
    image = noise((50, 40), np.uint8, 3) // 2 + 64  # away from the ends, where the 8-bit path clips between passes
    for shape in [(20, 20), (90, 77)]:
        difference = resize(image, *shape).astype(int) - resize(image.astype(np.uint16), *shape).astype(int)
        assert np.abs(difference).max() <= 1


def test_resize_refuses():
    with pytest.raises(ValueError, match="float64"):
        resize(np.zeros((4, 4)), 2, 2)
    with pytest.raises(ValueError, match="cannot resize"):
        resize(np.zeros((4, 4), np.uint8), 0, 2)


@given(sides, sides, st.integers(0, 5), st.integers(0, 5), st.integers(0, 5), st.integers(0, 5))
def test_crop_undoes_pad(rows, columns, top, left, below, right):
    image = noise((rows, columns), np.int16)
    canvas = pad(image, top, left, rows + top + below, columns + left + right, fill=-1024)
    np.testing.assert_array_equal(crop(canvas, top, left, rows, columns), image)
    assert (canvas == -1024).sum() >= canvas.size - image.size


def test_crop_and_pad_refuse_to_reach_outside():
    with pytest.raises(ValueError, match="does not lie"):
        crop(np.zeros((4, 4), np.uint8), 2, 2, 3, 3)
    with pytest.raises(ValueError, match="does not fit"):
        pad(np.zeros((4, 4), np.uint8), 1, 1, 4, 4)


@given(sides, sides, sides, sides, st.sampled_from(FITS), st.integers(0, 99))
def test_points_go_there_and_back(rows, columns, target_rows, target_columns, fit, seed):
    place = placement((rows, columns), (target_rows, target_columns), fit)
    points = np.random.default_rng(seed).uniform(-10, 50, (7, 2))
    np.testing.assert_allclose(place.to_source(place.to_target(points)), points, atol=1e-9)


@given(sides, sides, sides, sides, st.sampled_from(FITS))
def test_placements_lie_inside_and_give_the_target_shape(rows, columns, target_rows, target_columns, fit):
    place = placement((rows, columns), (target_rows, target_columns), fit)
    image = noise((rows, columns), np.uint8)
    result = place.apply(image)
    assert result.shape == (target_rows, target_columns)
    assert place.undo(result).shape == (rows, columns)


@given(sides, sides, st.integers(0, 12), st.integers(0, 12), st.booleans())
def test_without_resizing_the_image_comes_back_exactly(rows, columns, more_rows, more_columns, grow_rows):
    target = (rows + more_rows, columns) if grow_rows else (rows, columns + more_columns)
    image = noise((rows, columns), np.uint16)
    place = placement((rows, columns), target, "pad", fill=7)
    assert place.scale == (1.0, 1.0)
    np.testing.assert_array_equal(place.undo(place.apply(image)), image)


def test_fits_do_what_they_say():
    image = noise((20, 40), np.uint8)
    padded = placement((20, 40), (40, 40), "pad", fill=9)
    assert (padded.apply(image)[:10] == 9).all()
    np.testing.assert_array_equal(padded.apply(image)[10:30], image)
    np.testing.assert_array_equal(placement((20, 40), (20, 20), "crop").apply(image), image[:, 10:30])
    assert placement((20, 40), (30, 30), "stretch").scale == (1.5, 0.75)


def test_spacing_follows_the_scale():
    assert placement((100, 200), (50, 50), "stretch").spacing((0.2, 0.2)) == pytest.approx((0.4, 0.8))
    assert placement((100, 200), (50, 50), "crop").spacing((0.2, 0.3)) == pytest.approx((0.4, 0.6))


def test_a_placement_is_for_one_shape():
    place = placement((4, 4), (8, 8))
    with pytest.raises(ValueError, match="this placement"):
        place.apply(np.zeros((5, 4), np.uint8))
    with pytest.raises(ValueError, match="fit 'zoom'"):
        placement((4, 4), (8, 8), "zoom")
