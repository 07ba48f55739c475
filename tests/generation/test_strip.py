"""Strips: tiles in order, differences below."""

import io

import numpy as np
from PIL import Image

from synthcohort.generation.edit import Edit
from synthcohort.generation.strip import STEADY, TILE, strip
from synthcohort.models.checkpoint import ImageSpec
from synthcohort.pages.grids import GAP


def test_a_strip_shows_original_edits_and_changes() -> None:
    original = np.full((16, 16), 100, np.uint8)
    brighter = original + np.uint8(30)
    edits = [Edit(original, original, {"grade": 0}), Edit(original, brighter, {"grade": 4})]
    page = np.asarray(Image.open(io.BytesIO(strip(edits, {"grade": 0}, ImageSpec(16, 16, 1, "uint8", 0, 255)))))
    centers = [TILE // 2 + i * (TILE + GAP) for i in range(3)]
    below = TILE // 2 + TILE + 20 + GAP
    assert [int(page[TILE // 2, x]) for x in centers] == [100, 100, 130]
    assert [int(page[below, x]) for x in centers] == [STEADY, STEADY, STEADY + 60]


def test_deep_and_color_images_are_shown_by_one_scale() -> None:
    spec = ImageSpec(16, 16, 1, "uint16", 0, 4095, window_center=2048.0, window_width=4096.0)
    deep = np.full((16, 16), 2048, np.uint16)
    page = np.asarray(Image.open(io.BytesIO(strip([Edit(deep, deep + np.uint16(512), {})], {}, spec))))
    assert abs(int(page[TILE // 2, TILE // 2]) - 128) <= 1
    assert abs(int(page[TILE // 2, TILE // 2 + TILE + GAP]) - 160) <= 1
    color = np.zeros((16, 16, 3), np.uint8)
    color[..., 0] = 200
    strip(
        [Edit(color, color, {"prompt": "a lesion of the skin with irregular borders"})],
        {},
        ImageSpec(16, 16, 3, "uint8", 0, 255),
    )
