import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from synthcohort.core.cohort import LabelColumn
from synthcohort.core.cohort_writer import CohortWriter
from synthcohort.core.seeds import rng
from synthcohort.pages.grids import GAP, class_sheets, display, sheet, spread


def opened(png: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(png)) as picture:
        return np.asarray(picture)


def test_window_follows_the_standard():
    values = np.array([[-1000, 40 - 200, 40, 40 + 199, 3000]], np.int16)
    shown = display(values, window=(40, 400))
    assert shown.dtype == np.uint8
    assert list(shown[0, [0, 1, 4]]) == [0, 0, 255]
    assert shown[0, 2] == pytest.approx(128, abs=1)
    assert shown[0, 3] == 255
    with pytest.raises(ValueError, match="window width"):
        display(values, window=(40, 0))


def test_eight_bit_images_stay_as_they_are_and_deep_ones_are_stretched():
    image = rng("grid").integers(30, 60, (9, 9)).astype(np.uint8)
    assert np.array_equal(display(image), image)
    deep = np.linspace(500, 900, 100).astype(np.uint16).reshape(10, 10)
    assert display(deep).min() == 0
    assert display(deep).max() == 255
    assert display(np.full((4, 4), 7, np.uint16)).max() == 0, "a flat image does not divide by zero"


def test_tiles_lie_in_reading_order():
    images = [np.full((8, 8), 50 * i, np.uint8) for i in range(1, 5)]
    page = opened(sheet(images, columns=2, tile=8))
    assert page.shape == (16 + GAP, 16 + GAP)
    assert page[4, 4] == 50
    assert page[4, 12 + GAP] == 100
    assert page[12 + GAP, 4] == 150
    assert page[12 + GAP, 12 + GAP] == 200


def test_color_and_captions():
    images = [np.full((8, 12, 3), (200, 10, 10), np.uint8), np.full((8, 8), 90, np.uint8)]
    page = opened(sheet(images, tile=24, captions=["one", "two"]))
    assert page.shape[2] == 3
    assert tuple(page[12, 12]) == (200, 10, 10)
    assert page[26:].max() > 100, "the captions are written"
    with pytest.raises(ValueError, match="captions"):
        sheet(images, captions=["one"])
    with pytest.raises(ValueError, match="at least one"):
        sheet([])


def test_images_are_spread_not_chosen():
    assert spread(3, 16) == [0, 1, 2]
    assert spread(100, 4) == [0, 25, 50, 75]


def write_cohort(path: Path, labels: list[LabelColumn], images: list[np.ndarray], rows: list[dict]):
    writer = CohortWriter(path, "toy", "synthetic", labels, {}, "x")
    for i, (image, row) in enumerate(zip(images, rows, strict=True)):
        writer.add(image, {"image_id": f"i{i}", **row})
    return writer.finish(screened=True)


def test_one_sheet_a_class(tmp_path):
    images = [np.full((8, 8), 10 * i, np.uint8) for i in range(7)]
    labels = [LabelColumn("grade", "ordinal", (0, 1, 2))]
    cohort = write_cohort(tmp_path / "c", labels, images, [{"grade": i % 2} for i in range(7)])
    sheets = class_sheets(cohort, per_class=2, tile=16)
    assert list(sheets) == ["grade = 0", "grade = 1"], "a class without images has no sheet"
    assert (sheets["grade = 0"].shown, sheets["grade = 0"].total) == (2, 4)
    assert "2 of 4 images, 8 × 8 pixels each, shown 2 times enlarged" in sheets["grade = 0"].note
    assert class_sheets(cohort, per_class=2, tile=16) == sheets


def test_without_labels_there_is_one_sheet(tmp_path):
    images = [np.full((8, 8), 1000 * i, np.int16) for i in range(2)]
    window = {"window_center": 500.0, "window_width": 1000.0}
    cohort = write_cohort(tmp_path / "c", [], images, [window, window])
    assert list(class_sheets(cohort)) == ["All images"]


def test_an_unfilled_row_shows_no_black_images():
    page = opened(sheet([np.full((8, 8), 90, np.uint8)] * 3, columns=2, tile=8))
    assert page.shape[2] == 2
    assert page[12 + GAP, 4].tolist() == [90, 255]
    assert page[12 + GAP, 12 + GAP, 1] == 0
