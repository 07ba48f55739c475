"""The parts of the search for text: views, tiles, boxes, blanking."""

from itertools import pairwise

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from synthcohort.ingest.pixel_text_boxes import TextBox, blank, merged, places
from synthcohort.ingest.pixel_text_views import OVERLAP, TILE, scales_of, tiles, views


def box(top: int, left: int, bottom: int, right: int, kind: str = "text", confidence: float = 0.9) -> TextBox:
    return TextBox(top, left, bottom, right, confidence, kind)  # type: ignore[arg-type]


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 2300), st.integers(1, 2300))
def test_every_pixel_lies_in_a_tile_of_every_scale(rows: int, columns: int) -> None:
    view = np.zeros((rows, columns), np.uint8)
    view[::2, ::2] = 255  # nowhere flat
    seen: dict[tuple[float, float], np.ndarray] = {}
    for tile in tiles(view):
        tall, long = tile.image.shape[:2]
        assert tall <= TILE
        assert long <= TILE
        shape = (round(tile.scale[0] * rows), round(tile.scale[1] * columns))
        mask = seen.setdefault(tile.scale, np.zeros(shape, bool))
        mask[tile.top : tile.top + tall, tile.left : tile.left + long] = True
    if min(rows, columns) > 8:
        assert len(seen) == len(scales_of(rows, columns))
    assert all(mask.all() for mask in seen.values())


def test_tiles_of_a_long_image_overlap_enough() -> None:
    view = np.tile(np.arange(256, dtype=np.uint8), (1000, 20))
    places = sorted({(tile.left, tile.left + tile.image.shape[1]) for tile in tiles(view) if tile.scale == (1.0, 1.0)})
    assert len(places) > 5
    assert all(before[1] - after[0] >= OVERLAP - 1 for before, after in pairwise(places))


def test_flat_tiles_are_left_out() -> None:
    view = np.zeros((1500, 1500), np.uint8)
    view[1400:, 1400:] = np.arange(100)
    ends = {
        (tile.top + tile.image.shape[0], tile.left + tile.image.shape[1])
        for tile in tiles(view)
        if tile.scale == (1.0, 1.0)
    }
    assert ends == {(1500, 1500)}


def test_views_show_the_image_and_an_overlay_far_above_it() -> None:
    pixels = np.tile(np.arange(1000, 2000, dtype=np.uint16), (400, 1))
    pixels[10:14, 10:14] = 65535
    by_percentiles, by_range = views(pixels)
    assert by_percentiles.dtype == by_range.dtype == np.uint8
    assert np.ptp(by_percentiles[200]) > 250
    assert np.ptp(by_range[200]) < 5
    assert (by_range[10:14, 10:14] == 255).all()


def test_views_that_hardly_differ_are_one_and_a_flat_image_has_none() -> None:
    assert len(views(np.tile(np.arange(256, dtype=np.uint8), (256, 1)))) == 1
    assert views(np.full((20, 20), 7, np.int16)) == []
    assert views(np.full((20, 20, 3), 7, np.uint8)) == []


def test_views_of_signed_pixels_follow_the_values() -> None:
    pixels = np.tile(np.linspace(-32768, 32767, 512).astype(np.int16), (16, 1))
    view = views(pixels)[0]
    assert (np.diff(view[0].astype(int)) >= 0).all()
    assert (view[0, 0], view[0, -1]) == (0, 255)


def test_a_place_grows_back_from_its_core() -> None:
    probability = np.zeros((100, 200))
    probability[40:50, 20:120] = 0.9
    probability[5, 5] = 0.9  # too small to be a line
    (place,) = places(probability)
    # 10 x 100: area 1000, perimeter 220.
    grown = 1.6 * 1000 / 220
    np.testing.assert_allclose(
        [place.top, place.left, place.bottom, place.right], [40 - grown, 20 - grown, 50 + grown, 120 + grown]
    )
    assert abs(place.score - 0.9) < 1e-9
    assert places(np.full((50, 50), 0.29)) == []


def test_readings_of_one_place_become_one_box() -> None:
    assert merged([box(10, 10, 20, 50), box(11, 12, 22, 60), box(80, 10, 90, 50)]) == [
        box(10, 10, 22, 60),
        box(80, 10, 90, 50),
    ]
    # The third reading joins the two others.
    assert merged([box(0, 0, 10, 20), box(0, 30, 10, 50), box(0, 10, 10, 40)]) == [box(0, 0, 10, 50)]


def test_a_marker_wins_only_over_a_worse_reading_of_itself() -> None:
    marker = box(0, 0, 10, 10, "marker", 0.99)
    assert merged([marker, box(0, 0, 10, 11, "text", 0.8)])[0].kind == "marker"
    assert merged([marker, box(0, 0, 10, 11, "text", 0.995)])[0].kind == "text"
    assert merged([marker, box(0, 0, 10, 60, "text", 0.8)])[0].kind == "text"


@settings(deadline=None, max_examples=50)
@given(
    st.lists(st.tuples(st.integers(0, 39), st.integers(0, 59), st.integers(1, 20), st.integers(1, 30)), max_size=5),
    st.sampled_from(["uint8", "uint16", "int16", "color"]),
    st.integers(0, 2**32 - 1),
)
def test_blanking_hides_the_boxes_and_touches_nothing_far_away(
    corners: list[tuple[int, int, int, int]], kind: str, seed: int
) -> None:
    shape = (40, 60, 3) if kind == "color" else (40, 60)
    dtype = "uint8" if kind == "color" else kind
    pixels = np.random.default_rng(seed).integers(np.iinfo(dtype).min, np.iinfo(dtype).max, shape).astype(dtype)
    boxes = [box(top, left, min(40, top + tall), min(60, left + long)) for top, left, tall, long in corners]
    blanked = blank(pixels, boxes)
    assert blanked.dtype == pixels.dtype
    near = np.zeros((40, 60), bool)
    for one in boxes:
        near[max(0, one.top - 5) : one.bottom + 5, max(0, one.left - 7) : one.right + 7] = True
    np.testing.assert_array_equal(blanked[~near], pixels[~near])
    for one in boxes[-1:]:  # the last is filled last
        area = blanked[one.top : one.bottom, one.left : one.right].reshape(-1, shape[-1] if kind == "color" else 1)
        assert (area == area[0]).all()


def test_a_box_over_the_whole_image_is_filled_with_the_lowest_value() -> None:
    pixels = np.arange(200, dtype=np.int16).reshape(10, 20) - 50
    assert (blank(pixels, [box(0, 0, 10, 20)]) == -50).all()
