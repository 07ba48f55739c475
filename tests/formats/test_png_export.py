import io

import numpy as np
import pytest
from PIL import Image

from synthcohort.core.seeds import rng
from synthcohort.formats.png_export import encode, marking_problems, offset_of

IMAGES = {
    "8 bit": rng("png", 1).integers(0, 256, (7, 5)).astype(np.uint8),
    "16 bit": rng("png", 2).integers(0, 65536, (7, 5)).astype(np.uint16),
    "signed": rng("png", 3).integers(-32768, 32768, (7, 5)).astype(np.int16),
    "color": rng("png", 4).integers(0, 256, (7, 5, 3)).astype(np.uint8),
}


@pytest.mark.parametrize("name", IMAGES)
def test_values_come_back(name, tmp_path):
    pixels = IMAGES[name]
    data = encode(pixels, "synthetic-1")
    with Image.open(io.BytesIO(data)) as picture:
        back = np.asarray(picture).astype(np.int64) - offset_of(pixels)
    assert np.array_equal(back, pixels)
    assert data == encode(pixels.copy(), "synthetic-1")
    (tmp_path / "image.png").write_bytes(data)
    assert marking_problems(tmp_path / "image.png") == []


def test_what_a_png_cannot_hold_is_refused():
    with pytest.raises(ValueError, match="float32"):
        encode(np.zeros((4, 4), np.float32), "x")
    with pytest.raises(ValueError, match="uint16"):
        encode(np.zeros((4, 4, 3), np.uint16), "x")


def test_unmarked_and_damaged_files_are_problems(tmp_path):
    path = tmp_path / "image.png"
    Image.fromarray(IMAGES["8 bit"]).save(path)
    assert "not marked" in marking_problems(path)[0]
    path.write_bytes(path.read_bytes()[:40])
    assert "cannot be read" in marking_problems(path)[0]
