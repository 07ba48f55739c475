import contextlib
import io

import imagecodecs
import numpy as np
import PIL.Image
import pytest
import tifffile

from synthcohort.formats import raster, tiff
from synthcohort.formats.image import Image, Refusal, Unreadable

GRAY8 = np.arange(70, dtype=np.uint8).reshape(7, 10)
GRAY16 = (np.arange(70) * 900).astype(np.uint16).reshape(7, 10)
RGB = np.random.default_rng(0).integers(0, 256, (7, 10, 3)).astype(np.uint8)


def encode(image, format="PNG", **options):
    file = io.BytesIO()
    (image if isinstance(image, PIL.Image.Image) else PIL.Image.fromarray(image)).save(file, format, **options)
    return file.getvalue()


def read(source):
    (image,) = raster.read(source)
    assert isinstance(image, Image)
    return image


def refusal(data):
    with pytest.raises(Unreadable) as caught:
        list(raster.read(data))
    return str(caught.value)


@pytest.mark.parametrize("pixels", [GRAY8, GRAY16, RGB], ids=["gray8", "gray16", "rgb"])
def test_png_comes_back_exactly(pixels, tmp_path):
    data = encode(pixels)
    image = read(data)
    assert image.pixels.dtype == pixels.dtype
    np.testing.assert_array_equal(image.pixels, pixels)
    assert image.bits_stored == 8 * pixels.dtype.itemsize
    (tmp_path / "a.png").write_bytes(data)
    np.testing.assert_array_equal(read(tmp_path / "a.png").pixels, pixels)


@pytest.mark.parametrize("pixels", [GRAY8, RGB])
def test_jpeg_keeps_gray_gray_and_color_color(pixels):
    smooth = np.full_like(pixels, 90)
    image = read(encode(smooth, "JPEG", quality=95))
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
    image = read(encode(np.ascontiguousarray(stored), "JPEG", quality=95, exif=exif))
    assert image.pixels.shape == (16, 24)
    assert np.abs(image.pixels.astype(int) - upright).max() < 30
    assert bool(image.notes) == (orientation > 1)


def test_palette_and_one_bit_are_expanded():
    palette = PIL.Image.fromarray(RGB).quantize(16)
    image = read(encode(palette))
    np.testing.assert_array_equal(image.pixels, np.array(palette.convert("RGB")))
    assert "palette" in image.notes[0]
    one = PIL.Image.fromarray(GRAY8 > 30)
    np.testing.assert_array_equal(read(encode(one)).pixels, (GRAY8 > 30) * np.uint8(255))


def test_alpha_is_dropped_only_where_it_hides_nothing():
    opaque = np.dstack([RGB, np.full(RGB.shape[:2], 255, np.uint8)])
    image = read(encode(opaque))
    np.testing.assert_array_equal(image.pixels, RGB)
    assert "alpha" in image.notes[0]
    opaque[3, 4, 3] = 254
    assert "transparent" in refusal(encode(opaque))
    gray = PIL.Image.fromarray(GRAY8)
    assert "transparent" in refusal(encode(gray, transparency=3))


def test_what_would_lose_colors_is_refused():
    assert "CMYK" in refusal(encode(PIL.Image.new("CMYK", (8, 8)), "JPEG"))


@pytest.mark.parametrize("channels", [2, 3, 4])
def test_deep_color_png_is_exact(channels):
    deep = np.random.default_rng(1).integers(0, 65536, (7, 10, channels)).astype(np.uint16)
    if channels != 3:
        deep[..., -1] = 65535
    image = read(imagecodecs.png_encode(deep))
    kept = {2: deep[..., 0], 3: deep, 4: deep[..., :3]}[channels]
    np.testing.assert_array_equal(image.pixels, kept)
    assert (image.pixels.dtype, image.bits_stored) == (np.uint16, 16)
    assert bool(image.notes) == (channels != 3)
    deep[2, 2, -1] = 7
    if channels != 3:
        assert "transparent" in refusal(imagecodecs.png_encode(deep))
    broken = bytearray(imagecodecs.png_encode(deep))
    broken[len(broken) // 2] ^= 0xFF
    assert "damaged" in refusal(bytes(broken))


@pytest.mark.parametrize("format", ["BMP", "GIF", "WEBP", "JPEG2000"])
def test_other_lossless_formats_are_exact(format):
    pixels = RGB if format != "GIF" else GRAY8
    options = {"lossless": True} if format == "WEBP" else {"irreversible": False} if format == "JPEG2000" else {}
    image = read(encode(pixels, format, **options))
    found = image.pixels if format != "GIF" else image.pixels.reshape(7, 10, -1)[..., 0]
    np.testing.assert_array_equal(found, pixels)


@pytest.mark.parametrize("pixels", [GRAY8 >> 2, GRAY16, GRAY16.astype(np.int16) // 2 - 9000, np.dstack([GRAY16] * 3)])
def test_jpeg2000_of_any_depth_is_exact(pixels):
    bits = {2: 16, 1: 6}[pixels.dtype.itemsize]
    image = read(imagecodecs.jpeg2k_encode(pixels, level=0, bitspersample=bits, reversible=True))
    np.testing.assert_array_equal(image.pixels, pixels)
    assert image.pixels.dtype == pixels.dtype
    assert image.bits_stored == bits


def test_damage_is_refused():
    noise = np.random.default_rng(2).integers(0, 256, (64, 64)).astype(np.uint8)
    for format in ("PNG", "JPEG"):
        data = encode(noise, format)
        assert "damaged" in refusal(data[: len(data) // 2])
    corrupt = bytearray(encode(noise))
    corrupt[len(corrupt) // 2] ^= 0xFF
    assert "damaged" in refusal(bytes(corrupt))
    assert refusal(b"") == "the file is empty"
    assert "not a PNG, JPEG" in refusal(b"hello, this is text")


def test_animation_and_bombs_are_refused(monkeypatch):
    frames = [PIL.Image.fromarray(GRAY8), PIL.Image.fromarray(255 - GRAY8)]
    assert "several frames" in refusal(encode(frames[0], save_all=True, append_images=frames[1:]))
    monkeypatch.setattr(raster, "MAX_PIXELS", 50)
    monkeypatch.setattr(tiff, "MAX_PIXELS", 50)
    deep = np.dstack([GRAY16] * 3)
    for data in (encode(GRAY8), imagecodecs.png_encode(deep), imagecodecs.jpeg2k_encode(deep, level=0), tif(GRAY8)):
        assert "at most 50" in refusal(data)


# --- TIFF -------------------------------------------------------------------------------------------------------------


def tif(*pages, **options):
    file = io.BytesIO()
    big, order = options.pop("bigtiff", False), options.pop("order", "<")
    with tifffile.TiffWriter(file, bigtiff=big, byteorder=order) as writer:
        for page in pages:
            writer.write(page, **({"metadata": None} | options))
    return file.getvalue()


def retagged(data, code, value, page=0):
    """The file with another value in one of its tags."""
    file = io.BytesIO(data)
    with tifffile.TiffFile(file, mode="r+") as opened:
        opened.pages[page].tags[code].overwrite(value)
    return file.getvalue()


DEEP_RGB = np.random.default_rng(4).integers(0, 65536, (33, 47, 3)).astype(np.uint16)
TIFF_PIXELS = {
    "gray8": DEEP_RGB[..., 0].astype(np.uint8),
    "gray16": DEEP_RGB[..., 0],
    "signed16": DEEP_RGB[..., 0].astype(np.int16),
    "rgb8": DEEP_RGB.astype(np.uint8),
    "rgb16": DEEP_RGB,
}


@pytest.mark.parametrize("name", TIFF_PIXELS)
@pytest.mark.parametrize("compression", [None, "lzw", "deflate", "packbits", "zstd", "jpeg2000"])
def test_tiff_is_exact(name, compression):
    pixels = TIFF_PIXELS[name]
    color = "rgb" if pixels.ndim == 3 else "minisblack"
    for options in ({}, {"tile": (16, 16)}, {"rowsperstrip": 5}, {"order": ">"}, {"bigtiff": True}):
        if compression == "jpeg2000" and (name == "signed16" or "order" in options):
            continue  # tifffile does not write these
        image = read(tif(pixels, compression=compression, photometric=color, **options))
        np.testing.assert_array_equal(image.pixels, pixels)
        assert image.pixels.dtype == pixels.dtype
        assert (image.bits_stored, image.notes, image.part, image.frame) == (8 * pixels.itemsize, (), "", None)
    if compression in ("lzw", "deflate"):
        image = read(tif(pixels, compression=compression, photometric=color, predictor=2))
        np.testing.assert_array_equal(image.pixels, pixels)


def test_tiff_with_planes_one_after_another():
    planes = np.ascontiguousarray(DEEP_RGB.transpose(2, 0, 1))
    image = read(tif(planes, photometric="rgb", planarconfig="separate", compression="lzw"))
    np.testing.assert_array_equal(image.pixels, DEEP_RGB)


def test_tiff_jpeg_keeps_gray_gray_and_color_color():
    y, x = np.mgrid[0:48, 0:64]
    smooth = np.dstack([x * 3, y * 4, 200 - x]).astype(np.uint8)
    ycbcr = np.array(PIL.Image.fromarray(smooth).convert("YCbCr"))
    for stored, color in ((smooth[..., 0], "minisblack"), (smooth, "rgb"), (ycbcr, "ycbcr")):
        pixels = smooth[..., 0] if stored.ndim == 2 else smooth
        image = read(tif(stored, photometric=color, compression="jpeg", compressionargs={"level": 95}))
        assert image.pixels.shape == pixels.shape
        assert np.abs(image.pixels.astype(int) - pixels).max() < 12


def test_tiff_white_is_zero_is_inverted():
    gray = TIFF_PIXELS["gray16"]
    image = read(tif(gray, photometric="miniswhite"))
    np.testing.assert_array_equal(image.pixels, 65535 - gray)
    assert "inverted" in image.notes[0]
    fax = GRAY8 > 30
    image = read(tif(fax, photometric="miniswhite"))
    np.testing.assert_array_equal(image.pixels, np.where(fax, 0, 255))
    signed = TIFF_PIXELS["signed16"]
    np.testing.assert_array_equal(read(tif(signed, photometric="miniswhite")).pixels, -1 - signed)


def test_tiff_packed_bits_and_wide_numbers():
    packed = tif(GRAY16 >> 4, photometric="minisblack", bitspersample=12)
    image = read(packed)
    np.testing.assert_array_equal(image.pixels, GRAY16 >> 4)
    assert image.bits_stored == 12
    image = read(tif(GRAY8.astype(np.float32) - 20))
    np.testing.assert_array_equal(image.pixels, GRAY8.astype(np.int16) - 20)
    assert "whole numbers" in image.notes[0]
    np.testing.assert_array_equal(read(tif(GRAY16.astype(np.uint32))).pixels, GRAY16)
    assert "lose precision" in refusal(tif(GRAY8 + np.float32(0.5)))
    assert "16 bits" in refusal(tif(GRAY16.astype(np.int32) * 9))


def test_tiff_palette():
    colors = np.random.default_rng(5).integers(0, 256, (3, 256)).astype(np.uint16)
    for colormap in (colors * 257, colors * 256):
        image = read(tif(GRAY8, photometric="palette", colormap=colormap))
        np.testing.assert_array_equal(image.pixels, colors.T[GRAY8])
        assert image.pixels.dtype == np.uint8
    image = read(tif(GRAY8, photometric="palette", colormap=colors * 255))
    np.testing.assert_array_equal(image.pixels, (colors * 255).T[GRAY8])


def test_tiff_alpha_and_channels():
    opaque = np.dstack([RGB, np.full(RGB.shape[:2], 255, np.uint8)])
    image = read(tif(opaque, photometric="rgb", extrasamples=["unassalpha"]))
    np.testing.assert_array_equal(image.pixels, RGB)
    assert "alpha" in image.notes[0]
    opaque[0, 0, 3] = 0
    assert "transparent" in refusal(tif(opaque, photometric="rgb", extrasamples=["unassalpha"]))
    five = np.dstack([RGB, RGB[..., :2]])
    assert "channels" in refusal(tif(five, photometric="minisblack", planarconfig="contig"))
    assert "color space" in refusal(tif(opaque, photometric="separated"))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_tiff_orientation_is_that_of_exif(orientation):
    turned = read(tif(GRAY16, extratags=[(274, "H", 1, orientation, True)]))
    exif = PIL.Image.Exif()
    exif[0x0112] = orientation
    reference = read(encode(GRAY16, exif=exif))
    np.testing.assert_array_equal(turned.pixels, reference.pixels)
    assert bool(turned.notes) == (orientation > 1)


def test_tiff_pages_are_images():
    pages = [GRAY16 + k for k in range(4)]
    found = list(raster.read(tif(*pages)))
    assert [(image.part, image.frame) for image in found] == [(f"page {k + 1}", k) for k in range(4)]
    for image, page in zip(found, pages, strict=True):
        np.testing.assert_array_equal(image.pixels, page)
    (series,) = {image.identifiers["series_uid"] for image in found}
    assert series.startswith("tiff:")
    mixed = list(raster.read(tif(GRAY16, GRAY8 + np.float32(0.5), GRAY8)))
    assert [type(image) for image in mixed] == [Image, Refusal, Image]
    assert mixed[1].part == "page 2"
    thumbnail = io.BytesIO()
    with tifffile.TiffWriter(thumbnail) as writer:
        writer.write(GRAY16, metadata=None)
        writer.write(GRAY16[::2, ::2], metadata=None, subfiletype=1)
    assert len(list(raster.read(thumbnail.getvalue()))) == 1


def test_tiff_spacing_only_from_physical_metadata():
    assert read(tif(GRAY16, resolution=(72, 72), resolutionunit="inch")).pixel_spacing_mm is None
    ome = io.BytesIO()
    sizes = {"PhysicalSizeX": 0.25, "PhysicalSizeXUnit": "µm", "PhysicalSizeY": 0.5, "PhysicalSizeYUnit": "µm"}
    tifffile.imwrite(ome, GRAY16, ome=True, metadata={"axes": "YX"} | sizes)
    assert read(ome.getvalue()).pixel_spacing_mm == pytest.approx((0.0005, 0.00025))
    imagej = io.BytesIO()
    tifffile.imwrite(imagej, GRAY16, imagej=True, resolution=(4, 2), metadata={"unit": "um"})
    assert read(imagej.getvalue()).pixel_spacing_mm == pytest.approx((0.0005, 0.00025))
    imagej = io.BytesIO()
    tifffile.imwrite(imagej, GRAY16, imagej=True, resolution=(4, 2), metadata={"unit": "pixel"})
    assert read(imagej.getvalue()).pixel_spacing_mm is None


def test_tiff_labels_of_slides_and_hidden_planes_are_refused():
    found = list(raster.read(tif(GRAY16, GRAY16, description="Label of slide")))
    assert [type(page) for page in found] == [Refusal, Refusal]
    assert "never read" in found[0].reason
    hidden = io.BytesIO()
    tifffile.imwrite(hidden, np.stack([GRAY16] * 3), truncate=True, photometric="minisblack")
    assert "behind one page" in refusal(hidden.getvalue())


def test_tiff_damage_is_refused():
    noise = np.random.default_rng(2).integers(0, 256, (64, 64)).astype(np.uint8)
    for compression in (None, "lzw", "deflate", "jpeg"):
        data = tif(noise, compression=compression, rowsperstrip=16)
        assert "cut off" in refusal(data[: len(data) - 500])
        assert "missing" in refusal(retagged(data, 279, (0, 5, 5, 5)))
    assert "directory" in refusal(tif(noise)[:40])
    assert refusal(b"II*\0") == "damaged: its TIFF directory cannot be understood"
    jpeg = tif(noise, compression="jpeg")
    count = tifffile.TiffFile(io.BytesIO(jpeg)).pages[0].databytecounts[0]
    assert "cut off" in refusal(retagged(jpeg, 279, count // 2))
    wide = retagged(tif(noise, tile=(16, 16)), 322, 2**20)
    assert refusal(retagged(wide, 323, 2**20 - 16))


def test_tiles_that_would_unfold_are_refused():
    """The stream in a tile claims to be far larger than the tile."""
    noise = np.random.default_rng(2).integers(0, 256, (64, 64)).astype(np.uint8)
    for compression, mark, at in (("jpeg", b"\xff\xc0", 5), ("jpeg2000", b"\xff\x4f\xff\x51", 8)):
        data = tif(noise, compression=compression, tile=(32, 32))
        place = data.index(mark) + at
        wide = data[:place] + (b"\xff\xdc\xff\xdc" if at == 5 else b"\0\xff\xff\xff" * 2)
        assert "larger than it should be" in refusal(wide + data[len(wide) :])
    assert "compression is not supported" in refusal(retagged(tif(noise, compression="jpeg"), 259, 22610))


def test_nothing_of_a_pictures_words_comes_out():
    secret = "INVENTED^PERSON"
    text = PIL.PngImagePlugin.PngInfo()
    text.add_text("Comment", secret)
    exif = PIL.Image.Exif()
    exif[0x010E] = secret
    for data in (
        encode(GRAY8, pnginfo=text), encode(GRAY8, "JPEG", exif=exif), tif(GRAY8, description=secret, software=secret),
    ):  # fmt: skip
        image = read(data)
        words = (image.facts, image.identifiers, image.notes, image.part, image.row, image.header)
        assert "INVENTED" not in repr(words)


def test_mutated_pictures_are_read_or_refused(caplog, capfd):
    rng = np.random.default_rng(9)
    deep = np.dstack([GRAY16] * 3)
    sources = [
        encode(RGB), encode(RGB, "JPEG"), encode(RGB, "BMP"), encode(GRAY8, "GIF"), encode(RGB, "WEBP"),
        encode(RGB, "JPEG2000"), imagecodecs.png_encode(deep), imagecodecs.jpeg2k_encode(GRAY16, level=0),
        tif(GRAY16, compression="lzw"), tif(RGB, RGB, photometric="rgb", tile=(16, 16), compression="deflate"),
        tif(RGB, photometric="ycbcr", compression="jpeg"), tif(GRAY8, description="INVENTED", order=">"),
    ]  # fmt: skip
    for i in range(200 * len(sources)):
        data = bytearray(sources[i % len(sources)])
        for at in rng.integers(0, len(data), rng.integers(1, 5)):
            data[at] = rng.integers(0, 256)
        with contextlib.suppress(Unreadable):
            for found in raster.read(bytes(data[: rng.integers(1, len(data))] if i % 5 == 0 else data)):
                assert isinstance(found, (Image, Refusal))
    assert "INVENTED" not in caplog.text + "".join(capfd.readouterr())
