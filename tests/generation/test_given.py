"""Images and masks from files: size, range, channels, and what is refused."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from synthcohort.core.errors import InputError
from synthcohort.generation.given import read_image, read_mask
from synthcohort.models.checkpoint import ImageSpec

GRAY = ImageSpec(16, 16, 1, "uint8", 0, 255)
DEEP = ImageSpec(16, 16, 1, "uint16", 0, 4095)
COLOR = ImageSpec(16, 16, 3, "uint8", 0, 255)
RAMP = np.arange(256, dtype=np.uint8).reshape(16, 16)


def saved(folder: Path, pixels: np.ndarray, name: str = "image.png") -> Path:
    Image.fromarray(pixels).save(folder / name)
    return folder / name


def test_an_image_of_the_models_own_kind_is_read_as_it_is(tmp_path: Path) -> None:
    pixels, size = read_image(saved(tmp_path, RAMP), GRAY)
    assert np.array_equal(pixels, RAMP)
    assert size == (16, 16)


def test_depth_channels_and_size_become_the_models(tmp_path: Path) -> None:
    deep, _ = read_image(saved(tmp_path, RAMP), DEEP)
    assert deep.dtype == np.uint16
    assert (int(deep.min()), int(deep.max())) == (0, 4095)
    color, _ = read_image(saved(tmp_path, RAMP), COLOR)
    assert np.array_equal(color, np.stack([RAMP] * 3, axis=-1))
    gray, _ = read_image(saved(tmp_path, np.stack([RAMP] * 3, axis=-1)), GRAY)  # a gray picture saved as RGB
    assert np.array_equal(gray, RAMP)
    wide = np.full((16, 32), 200, np.uint8)
    padded, size = read_image(saved(tmp_path, wide), GRAY)
    assert size == (16, 32)
    assert padded.shape == (16, 16)
    assert set(np.unique(padded[:4])) == {0}
    assert set(np.unique(padded[5:11])) == {200}
    assert int(read_image(saved(tmp_path, wide), GRAY, "crop")[0].min()) == 200


def test_masks_follow_the_image_to_the_models_size(tmp_path: Path) -> None:
    mask = np.zeros((16, 32), np.uint8)
    mask[:, 16:] = 1  # any number but 0
    found = read_mask(saved(tmp_path, mask), GRAY, (16, 32))
    assert found.dtype == bool
    assert found[5:11, 8:].all()
    assert not found[:, :8].any()
    assert not found[:4].any()
    own = read_mask(saved(tmp_path, (RAMP > 100).astype(np.uint8)), GRAY, (99, 98))
    assert np.array_equal(own, RAMP > 100)


def test_what_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("not an image")
    noise = np.random.default_rng(1).integers(0, 255, (16, 16)).astype(np.uint8)
    (tmp_path / "torn.png").write_bytes(saved(tmp_path, noise).read_bytes()[:60])
    color = np.random.default_rng(0).integers(0, 255, (16, 16, 3)).astype(np.uint8)
    signed = ImageSpec(16, 16, 1, "int16", -1024, 3071)
    Image.fromarray(RAMP).save(tmp_path / "two.tiff", save_all=True, append_images=[Image.fromarray(RAMP)])
    for path, spec, words in (
        (tmp_path / "absent.png", GRAY, "no such file"),
        (tmp_path / "notes.txt", GRAY, "is no image"),
        (tmp_path / "torn.png", GRAY, "image"),
        (tmp_path / "two.tiff", GRAY, "several images"),
        (saved(tmp_path, color, "color.png"), GRAY, "is in color"),
        (saved(tmp_path, RAMP), signed, "without sign; allowed: signed"),
    ):
        with pytest.raises(InputError, match=words):
            read_image(path, spec)
    with pytest.raises(InputError, match="no pixel may change"):
        read_mask(saved(tmp_path, np.zeros((16, 16), np.uint8)), GRAY, None)
    with pytest.raises(InputError, match="8 x 8 pixels; allowed: 16 x 32 or 16 x 16"):
        read_mask(saved(tmp_path, np.ones((8, 8), np.uint8)), GRAY, (16, 32))
