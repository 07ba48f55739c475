import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from synthcohort.imaging.fingerprint import (
    COEFFICIENTS,
    SIDE,
    VECTOR_SIZE,
    central_squares,
    coarse_detail,
    fine_detail,
    fingerprint,
    harmonic_basis,
    harmonics,
    harmonics_of_corners,
    invariants,
    unpacked,
)


def texture(seed, shape=(128, 128), sigma=3.0):
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).standard_normal(shape), sigma)
    return np.clip(128 + 55 * noise / noise.std(), 0, 255).astype(np.uint8)


def invariants_of(thumbnail):
    return invariants(harmonics(unpacked(coarse_detail(thumbnail[None].astype(np.float32))), harmonic_basis()))[:, 0]


@given(
    rows=st.integers(1, 700),
    columns=st.integers(1, 700),
    dtype=st.sampled_from([np.uint8, np.uint16, np.int16]),
    color=st.booleans(),
)
@settings(max_examples=40, deadline=None)
def test_any_image_has_a_fingerprint_of_fixed_size(rows, columns, dtype, color):
    limits = np.iinfo(dtype)
    image = np.random.default_rng(0).integers(limits.min, limits.max, (rows, columns, *([3] * color)), dtype)
    mark = fingerprint(image)
    assert mark.thumbnail.shape == (SIDE, SIDE)
    assert mark.thumbnail.dtype == np.uint8
    assert mark.vector.shape == (VECTOR_SIZE,)
    assert mark.vector.dtype == np.float16
    assert mark.vector[0] == pytest.approx(np.log2(columns / rows), abs=0.01)


def test_an_empty_image_has_none():
    with pytest.raises(ValueError, match="no fingerprint"):
        fingerprint(np.zeros((0, 5), np.uint8))


def test_area_means_are_exact_where_pixels_divide_evenly():
    image = np.arange(SIDE * SIDE * 4, dtype=np.uint16).reshape(2 * SIDE, 2 * SIDE) % 999
    means = image.reshape(SIDE, 2, SIDE, 2).mean(axis=(1, 3))
    few = SIDE * SIDE // 100
    low, high = np.sort(means.ravel())[[few, -1 - few]]
    expected = np.rint(np.clip((means - low) * 255 / (high - low), 0, 255))
    assert np.abs(fingerprint(image).thumbnail - expected).max() <= 1  # float32 against float64


def test_gain_offset_and_bit_depth_do_not_show():
    image = texture(1)
    wide = (image.astype(np.int32) * 13 - 900).astype(np.int16)
    assert np.abs(fingerprint(image).thumbnail.astype(int) - fingerprint(wide).thumbnail).max() <= 1
    for shape, value in (((64, 64), 7), ((40, 40), 90), ((301, 77), 60001)):
        assert not fingerprint(np.full(shape, value, np.uint16)).thumbnail.any()


def test_a_large_image_looks_like_its_small_version():
    image = texture(2, (1200, 1600), 30.0)
    small = fingerprint(image[4::8, 4::8]).thumbnail.astype(int)
    assert np.abs(fingerprint(image).thumbnail - small).mean() < 3


def test_central_squares_undo_the_stretch():
    image = texture(3, (96, 192))
    marks = [fingerprint(image), fingerprint(image.T.copy()), fingerprint(image[:, 48:144].copy())]
    views = central_squares(np.stack([m.thumbnail for m in marks]), np.array([m.vector[0] for m in marks], np.float32))
    inner = slice(3, -3)
    for view, square in ((views[0], views[2]), (views[1], views[2].T)):
        assert np.corrcoef(view[inner, inner].ravel(), square[inner, inner].ravel())[0, 1] > 0.97


@pytest.mark.parametrize("k", [1, 2, 3])
@pytest.mark.parametrize("mirror", [False, True])
def test_invariants_do_not_see_quarter_turns_and_mirrors(k, mirror):
    thumbnail = fingerprint(texture(4)).thumbnail
    other = np.rot90(thumbnail[:, ::-1] if mirror else thumbnail, k)
    np.testing.assert_allclose(invariants_of(thumbnail), invariants_of(other), atol=5e-3)


def test_invariants_hardly_see_any_turn_but_tell_images_apart():
    def alike(a, b):
        return np.corrcoef(invariants_of(a), invariants_of(b))[0, 1]

    image = fingerprint(texture(5)).thumbnail
    turned = ndimage.rotate(texture(5), 33, reshape=False, order=1)
    assert alike(image, fingerprint(turned).thumbnail) > 0.98
    assert alike(image, fingerprint(texture(6)).thumbnail) < 0.9


def test_a_basis_of_a_square_sees_what_a_crop_shows():
    image = texture(7, (480, 480), 12.0)
    crop = image[48:, 48:]  # the lower right 90 %
    whole = unpacked(coarse_detail(fingerprint(image).thumbnail[None].astype(np.float32)))
    cut = unpacked(coarse_detail(fingerprint(crop).thumbnail[None].astype(np.float32)))
    shown = invariants(harmonics(cut, harmonic_basis()))[:, 0]
    right, wrong = (
        np.corrcoef(shown, invariants(harmonics(whole, harmonic_basis(0.9, *at)))[:, 0])[0, 1]
        for at in ((0.1, 0.1), (-0.1, -0.1))
    )
    assert right > wrong + 0.1


def test_corners_together_are_the_corners_one_by_one():
    coarse = unpacked(coarse_detail(np.stack([fingerprint(texture(i)).thumbnail for i in range(3)]).astype(np.float32)))
    together = harmonics_of_corners(coarse, (0.95, 0.8))
    corners = [
        (scale, x, y)
        for scale in (0.95, 0.8)
        for x in (scale - 1, 1 - scale)
        for y in (scale - 1, 1 - scale)
    ]  # fmt: skip
    assert together.shape == (8, 2, COEFFICIENTS, 3)
    for own, square in zip(together, corners, strict=True):
        np.testing.assert_allclose(own, harmonics(coarse, harmonic_basis(*square)), atol=1e-5)


def test_detail_of_nothing_is_nothing():
    flat = np.full((1, SIDE, SIDE), 90, np.float32)
    assert not fine_detail(flat).any()
    assert not coarse_detail(flat).any()
