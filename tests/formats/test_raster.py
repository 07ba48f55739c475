import io

import numpy as np
import PIL.Image
import pytest

from synthcohort.formats import Unreadable, raster

GRAY8 = np.arange(70, dtype=np.uint8).reshape(7, 10)
GRAY16 = (np.arange(70) * 900).astype(np.uint16).reshape(7, 10)
RGB = np.random.default_rng(0).integers(0, 256, (7, 10, 3)).astype(np.uint8)


def encode(image, format="PNG", **options):
    file = io.BytesIO()
    (image if isinstance(image, PIL.Image.Image) else PIL.Image.fromarray(image)).save(file, format, **options)
    return file.getvalue()


def refusal(data):
    with pytest.raises(Unreadable) as caught:
        raster.read(data)
    return str(caught.value)


@pytest.mark.parametrize("pixels", [GRAY8, GRAY16, RGB], ids=["gray8", "gray16", "rgb"])
def test_png_comes_back_exactly(pixels, tmp_path):
    data = encode(pixels)
    image = raster.read(data)
    assert image.pixels.dtype == pixels.dtype
    np.testing.assert_array_equal(image.pixels, pixels)
    assert image.bits_stored == 8 * pixels.dtype.itemsize
    (tmp_path / "a.png").write_bytes(data)
    np.testing.assert_array_equal(raster.read(tmp_path / "a.png").pixels, pixels)


@pytest.mark.parametrize("pixels", [GRAY8, RGB])
def test_jpeg_keeps_gray_gray_and_color_color(pixels):
    smooth = np.full_like(pixels, 90)
    image = raster.read(encode(smooth, "JPEG", quality=95))
    assert image.pixels.shape == pixels.shape
    assert np.abs(image.pixels.astype(int) - 90).max() <= 2


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation(orientation):
    upright = np.zeros((16, 24), np.uint8)
    upright[:8, :12] = 200
    # How a camera stores an upright picture for each orientation (EXIF 2.32, 4.6.4).
    stored = {
        1: upright, 2: upright[:, ::-1], 3: upright[::-1, ::-1], 4: upright[::-1], 5: upright.T,
        6: np.rot90(upright, 1), 7: upright[::-1, ::-1].T, 8: np.rot90(upright, -1),
    }[orientation]  # fmt: skip
    exif = PIL.Image.Exif()
    exif[0x0112] = orientation
    image = raster.read(encode(np.ascontiguousarray(stored), "JPEG", quality=95, exif=exif))
    assert image.pixels.shape == (16, 24)
    assert np.abs(image.pixels.astype(int) - upright).max() < 30
    assert bool(image.notes) == (orientation > 1)


def test_palette_and_one_bit_are_expanded():
    palette = PIL.Image.fromarray(RGB).quantize(16)
    image = raster.read(encode(palette))
    np.testing.assert_array_equal(image.pixels, np.array(palette.convert("RGB")))
    assert "palette" in image.notes[0]
    one = PIL.Image.fromarray(GRAY8 > 30)
    np.testing.assert_array_equal(raster.read(encode(one)).pixels, (GRAY8 > 30) * np.uint8(255))


def test_alpha_is_dropped_only_where_it_hides_nothing():
    opaque = np.dstack([RGB, np.full(RGB.shape[:2], 255, np.uint8)])
    image = raster.read(encode(opaque))
    np.testing.assert_array_equal(image.pixels, RGB)
    assert "alpha" in image.notes[0]
    opaque[3, 4, 3] = 254
    assert "transparent" in refusal(encode(opaque))
    gray = PIL.Image.fromarray(GRAY8)
    assert "transparent" in refusal(encode(gray, transparency=3))


def test_what_would_lose_depth_is_refused():
    header = encode(RGB)
    assert header[24] == 8
    deep = bytearray(header)
    deep[24] = 16  # bit depth in the PNG header
    assert "16-bit color" in refusal(bytes(deep))
    assert "CMYK" in refusal(encode(PIL.Image.new("CMYK", (8, 8)), "JPEG"))


def test_damage_is_refused():
    noise = np.random.default_rng(2).integers(0, 256, (64, 64)).astype(np.uint8)
    for format in ("PNG", "JPEG"):
        data = encode(noise, format)
        assert "damaged" in refusal(data[: len(data) // 2])
    corrupt = bytearray(encode(noise))
    corrupt[len(corrupt) // 2] ^= 0xFF
    assert "damaged" in refusal(bytes(corrupt))
    assert refusal(b"") == "the file is empty"
    assert "not a PNG or JPEG" in refusal(b"hello, this is text")


def test_animation_and_bombs_are_refused(monkeypatch):
    frames = [PIL.Image.fromarray(GRAY8), PIL.Image.fromarray(255 - GRAY8)]
    assert "several frames" in refusal(encode(frames[0], save_all=True, append_images=frames[1:]))
    monkeypatch.setattr(raster, "MAX_PIXELS", 50)
    assert "at most 50" in refusal(encode(GRAY8))
