import io
import math
import sys
import tracemalloc

import hypothesis.strategies as st
import numpy as np
import openslide
import pytest
import tifffile
from hypothesis import given, settings

from synthcohort.formats import pyramid, raster, slide, tissue
from synthcohort.formats.image import Image, ReadOptions, Refusal, Source, Unreadable

GLASS = 243
LABEL = (250, 10, 240)  # of no tissue here
ROWS, COLUMNS, TILE = 2048, 3072, 256
APERIO = "Aperio Image Library v0.0.0\r\n3072x2048 [0,0 3072x2048] (256x256) |AppMag = 40|MPP = 0.2500|User = INVENTED"


def disc(y, x):
    """Whether a point of the finest level, in pixels, lies in the tissue."""
    return (y - 1000) ** 2 + (x - 1400) ** 2 < 900**2


def paint(rows, columns, top, left, height, width, tissue_at=disc):
    """A part of a level of `rows` x `columns` pixels: glass, and tissue whose color says which tile of it this is."""
    y, x = np.mgrid[top : top + height, left : left + width]
    scale = ROWS / rows
    pixels = np.full((height, width, 3), GLASS, np.uint8)
    inside = tissue_at((y + 0.5) * scale, (x + 0.5) * scale)
    colors = np.stack([np.full_like(y, 180), 60 + y // TILE, 100 + x // TILE], axis=-1)
    pixels[inside] = colors[inside]
    return pixels


def tiles_of(rows, columns, tissue_at=disc, side=TILE):
    for top in range(0, rows, side):
        for left in range(0, columns, side):
            yield paint(rows, columns, top, left, side, side, tissue_at)


def write_level(writer, rows, columns, tissue_at=disc, **options):
    side = options.pop("side", TILE)
    compression = options.pop("compression", "deflate")
    content = tiles_of(rows, columns, tissue_at, side)
    shape, metadata = (rows, columns, 3), options.pop("metadata", None)
    common = {"photometric": "rgb", "compression": compression, "metadata": metadata}
    writer.write(content, shape=shape, dtype=np.uint8, tile=(side, side), **common, **options)


def flat(rows, columns, color=LABEL):
    return np.full((rows, columns, 3), color, np.uint8)


def aperio(description=APERIO, tissue_at=disc, levels=(4,)):
    """A slide as Aperio writes them: scan, thumbnail, smaller levels, label, macro; the last two in one color."""
    file = io.BytesIO()
    with tifffile.TiffWriter(file) as writer:
        write_level(writer, ROWS, COLUMNS, tissue_at, description=description)
        small = paint(256, 384, 0, 0, 256, 384, tissue_at)
        writer.write(small, photometric="rgb", metadata=None, description=description.replace(")", ") -> 384x256"))
        for factor in levels:
            write_level(writer, ROWS // factor, COLUMNS // factor, tissue_at, description=description)
        for name, kind, size in (("label", 1, (512, 768)), ("macro", 9, (1024, 1536))):
            words = f"Aperio Image Library v0.0.0\r\n{name} {size[1]}x{size[0]}"
            writer.write(flat(*size), photometric="rgb", metadata=None, description=words, subfiletype=kind)
    return file.getvalue()


@pytest.fixture(scope="module")
def scan():
    return aperio()


def images(data, **options):
    found = list(slide.read(data, ReadOptions(**options)))
    assert all(isinstance(image, Image) for image in found)
    return found


def refusal(data, **options):
    with pytest.raises(Unreadable) as caught:
        list(slide.read(data, ReadOptions(**options)))
    return str(caught.value)


def at(image):
    """Row and column of a tile."""
    return tuple(int(number) for number in image.part.removeprefix("tile ").split(","))


def true_share(row, column, side, tissue_at=disc):
    """The share of a tile, in pixels of the finest level, that is tissue."""
    y, x = np.mgrid[row * side : (row + 1) * side : 4, column * side : (column + 1) * side : 4]
    return tissue_at(y, x).mean()


def only_scan(found):
    """Whether no pixel has the color of the label."""
    return all((image.pixels != LABEL).any(axis=-1).all() for image in found)


# --- which tiles come, and what is in them ----------------------------------------------------------------------------


def test_tiles_of_tissue_come_exactly(scan):
    found = images(scan, tile_um=0.25, tiles=10**6)
    places = [at(image) for image in found]
    assert places == sorted(set(places))
    for row in range(ROWS // TILE):
        for column in range(COLUMNS // TILE):
            share = true_share(row, column, TILE)
            assert ((row, column) in places) == (share >= 0.5) or abs(share - 0.5) < 0.1
    for image, (row, column) in zip(found, places, strict=True):
        expected = paint(ROWS, COLUMNS, row * TILE, column * TILE, TILE, TILE)
        np.testing.assert_array_equal(image.pixels, expected)
        assert image.frame == row * (COLUMNS // TILE) + column
        assert image.pixel_spacing_mm == (0.00025, 0.00025)
        assert (image.facts, image.notes) == ({"modality": "SM", "manufacturer": "Aperio"}, ())
    (series,) = {image.identifiers["series_uid"] for image in found}
    assert series.startswith("slide:")
    assert only_scan(found)
    assert "INVENTED" not in repr([(i.facts, i.identifiers, i.notes, i.part, i.row, i.header) for i in found])


def test_share_of_tissue_asked_is_kept(scan):
    counts = [len(images(scan, tile_um=0.25, tiles=10**6, tissue=share)) for share in (0.0, 0.5, 1.0)]
    assert counts[0] > counts[1] > counts[2] > 0
    inner = images(scan, tile_um=0.25, tiles=10**6, tissue=1.0)
    assert min(true_share(*at(image), TILE) for image in inner) > 0.97


def test_levels_and_resolutions(scan):
    coarse = images(scan, tile_um=1.0)  # the second level as it is
    for image in coarse:
        row, column = at(image)
        np.testing.assert_array_equal(image.pixels, paint(512, 768, row * 256, column * 256, 256, 256))
    assert coarse[0].pixel_spacing_mm == (0.001, 0.001)
    assert coarse[0].notes == ()
    half = images(scan, tile_um=0.5)  # from the finest, shrunk by two
    assert {image.pixels.shape for image in half} == {(256, 256, 3)}
    assert half[0].pixel_spacing_mm == (0.0005, 0.0005)
    assert half[0].notes == ("resized to the resolution asked",)
    for image in half:
        row, column = at(image)
        block = paint(ROWS, COLUMNS, row * 512, column * 512, 512, 512).astype(float)
        mean = block.reshape(256, 2, 256, 2, 3).mean(axis=(1, 3))
        assert np.abs(image.pixels - mean).mean() < 1.5
    assert only_scan(coarse + half)
    # Without a wish: 0.25 and 1.0 are as near to 0.5 as each other, the finer one is taken, and nothing is resized.
    assert images(scan, tiles=1)[0].pixel_spacing_mm == (0.00025, 0.00025)
    assert images(scan, tile_size=100, tile_um=0.3, tiles=3)[0].pixels.shape == (100, 100, 3)
    assert "coarser than the resolution asked" in refusal(scan, tile_um=0.15)


def test_few_tiles_are_spread_evenly_and_always_the_same(scan):
    def two(y, x):
        large = (y > 100) & (y < 1900) & (x > 50) & (x < 1600)  # three times the other's area
        return large | ((y > 100) & (y < 1900) & (x > 2300) & (x < 2816))

    data = aperio(tissue_at=two)
    found = [at(image) for image in images(data, tile_um=0.25, tiles=20)]
    assert found == [at(image) for image in images(data, tile_um=0.25, tiles=20)]
    assert len(set(found)) == 20
    right = [place for place in found if place[1] >= 8]
    assert 4 <= len(right) <= 6
    # No part of the large piece is left out: each quarter gives its share.
    quarters = {(row >= 4, column >= 3) for row, column in found if column < 8}
    assert len(quarters) == 4


def test_slides_without_a_stated_resolution():
    data = aperio(APERIO.replace("MPP = 0.2500|", ""))
    (image,) = images(data, tiles=1)
    assert image.pixel_spacing_mm is None
    assert "no microns per pixel" in image.notes[0]
    assert "no microns per pixel" in refusal(data, tile_um=0.5)
    assert images(aperio(APERIO.replace("0.2500", "250")), tiles=1)[0].pixel_spacing_mm is None


def test_a_slide_without_tissue_is_refused():
    assert "tissue" in refusal(aperio(tissue_at=lambda y, x: y < 0))


# --- kinds of files ---------------------------------------------------------------------------------------------------


def ome(**options):
    file = io.BytesIO()
    sizes = {"PhysicalSizeX": 0.5, "PhysicalSizeXUnit": "µm", "PhysicalSizeY": 0.5, "PhysicalSizeYUnit": "µm"}
    with tifffile.TiffWriter(file, ome=True, bigtiff=True) as writer:
        metadata = {"axes": "YXS", "Name": "scan"} | sizes
        write_level(writer, ROWS, COLUMNS, subifds=1, metadata=metadata, **options)
        write_level(writer, ROWS // 4, COLUMNS // 4, subfiletype=1, **options)
        writer.write(flat(512, 768), photometric="rgb", metadata={"axes": "YXS", "Name": "label image"})
    return file.getvalue()


def plain(reduced=True, **options):
    """A pyramid of pages, and a label that is half as large as the scan and tiled like it."""
    file = io.BytesIO()
    with tifffile.TiffWriter(file) as writer:
        common = {"resolutionunit": "CENTIMETER", "resolution": (20000, 20000)} | options
        write_level(writer, ROWS, COLUMNS, **common)
        writer.write(flat(ROWS // 2, COLUMNS // 2), photometric="rgb", metadata=None, tile=(TILE, TILE))
        if reduced:
            write_level(writer, ROWS // 4, COLUMNS // 4, subfiletype=1, **options)
    return file.getvalue()


@pytest.mark.parametrize("make", [ome, plain, lambda: plain(False)], ids=["ome", "plain", "scan and label alone"])
def test_other_pyramids(make):
    data = make()
    found = images(data, tiles=30)
    assert found[0].pixel_spacing_mm == pytest.approx((0.0005, 0.0005))
    for image in found:
        row, column = at(image)
        np.testing.assert_array_equal(image.pixels, paint(ROWS, COLUMNS, row * TILE, column * TILE, TILE, TILE))
    shrunk = images(data, tile_um=1.0, tiles=30)
    assert only_scan(found + shrunk)


def test_hamamatsus_overview_is_no_level():
    """Its overview and map are known by their magnification alone; here they have a level's size."""
    file = io.BytesIO()
    with tifffile.TiffWriter(file) as writer:
        for factor, magnification in ((1, 20.0), (4, 5.0), (2, -1.0), (8, -2.0)):
            rows, columns = ROWS // factor, COLUMNS // factor
            pixels = paint(rows, columns, 0, 0, rows, columns) if magnification > 0 else flat(rows, columns)
            tags = [(271, "s", 0, "Hamamatsu", True), (65420, "I", 1, 1, True), (65421, "f", 1, magnification, True)]
            common = {"photometric": "rgb", "metadata": None, "compression": "deflate", "extratags": tags}
            writer.write(pixels, resolution=(20000, 20000), resolutionunit="CENTIMETER", **common)
    data = file.getvalue()
    with pyramid.opened(Source("a.tif", data=data)) as opened:
        assert opened.shapes == ((ROWS, COLUMNS), (ROWS // 4, COLUMNS // 4))
        assert (opened.um, opened.facts["manufacturer"]) == (0.5, "Hamamatsu")
    found = images(data, tile_um=1.0) + images(data, tile_um=2.0)
    assert len(found) > 10
    assert only_scan(found)


def test_a_tile_that_would_unfold_is_refused():
    file = io.BytesIO()
    with tifffile.TiffWriter(file) as writer:
        write_level(writer, ROWS, COLUMNS, compression="jpeg", description=APERIO)
    data = file.getvalue()
    with tifffile.TiffFile(io.BytesIO(data)) as opened:
        page = opened.pages[0]
        start = page.dataoffsets[4 * (COLUMNS // TILE) + 5]
    place = data.index(b"\xff\xc0", start) + 5
    with pytest.raises(Unreadable, match="larger than it should be"):
        list(slide.read(data[:place] + b"\xff\xdc\xff\xdc" + data[place + 4 :], ReadOptions(tile_um=0.25)))


def test_jpeg_tiles_and_aperios_jpeg2000():
    y = np.full((TILE, TILE), 170)
    ycbcr = np.stack([y, y - 45, y - 20], axis=-1).astype(np.uint8)
    rgb = np.array([170 + 1.402 * 22, 170 - 0.344136 * -3 - 0.714136 * 22, 170 + 1.772 * -3])
    file = io.BytesIO()
    with tifffile.TiffWriter(file) as writer:
        pixels = np.tile(ycbcr, (4, 4, 1))
        options = {"photometric": "rgb", "metadata": None, "tile": (TILE, TILE), "description": APERIO}
        writer.write(pixels, compression="jpeg2000", compressionargs={"mct": False, "reversible": True}, **options)
    file.seek(0)
    with tifffile.TiffFile(file, mode="r+") as opened:
        opened.pages[0].tags[259].overwrite(pyramid.YCBCR_JPEG2000)
    found = images(file.getvalue(), tile_um=0.25)
    assert len(found) == 16
    assert np.abs(found[5].pixels - rgb).max() <= 1
    jpeg = io.BytesIO()
    with tifffile.TiffWriter(jpeg) as writer:
        write_level(writer, ROWS, COLUMNS, compression="jpeg", description=APERIO)
    (image, *_) = images(jpeg.getvalue(), tile_um=0.25)
    row, column = at(image)
    expected = paint(ROWS, COLUMNS, row * TILE, column * TILE, TILE, TILE)
    assert np.abs(image.pixels.astype(int) - expected).mean() < 3


def test_tiles_that_were_never_scanned_are_glass():
    file = io.BytesIO()
    content = (None if i % 7 == 3 else tile for i, tile in enumerate(tiles_of(ROWS, COLUMNS)))
    with tifffile.TiffWriter(file) as writer:
        options = {"photometric": "rgb", "metadata": None, "compression": "deflate", "description": APERIO}
        writer.write(content, shape=(ROWS, COLUMNS, 3), dtype=np.uint8, tile=(TILE, TILE), **options)
    found = images(file.getvalue(), tile_um=0.25, tiles=10**6)
    empty = {divmod(i, COLUMNS // TILE) for i in range(3, (ROWS // TILE) * (COLUMNS // TILE), 7)}
    assert found
    assert not empty & {at(image) for image in found}


@pytest.mark.parametrize("options", [{"rowsperstrip": 16}, {"tile": (512, 256), "planarconfig": "separate"}])
def test_strips_and_separate_planes(options):
    pixels = paint(ROWS, COLUMNS, 0, 0, ROWS, COLUMNS)
    stored = pixels.transpose(2, 0, 1) if "planarconfig" in options else pixels
    file = io.BytesIO()
    common = {"photometric": "rgb", "metadata": None, "compression": "deflate", "description": APERIO}
    # Aperio's mark makes it a slide; a plain TIFF of this size would be a picture.
    tifffile.imwrite(file, np.ascontiguousarray(stored), **common, **options)
    found = images(file.getvalue(), tile_um=0.25, tiles=20) if "tile" in options else None
    with pyramid.opened(Source("a.tif", data=file.getvalue())) as opened:
        for top, left, height, width in ((0, 0, 300, 300), (500, 1000, 777, 601), (2000, 3000, 48, 72)):
            part = opened.region(0, top, left, height, width)
            np.testing.assert_array_equal(part, pixels[top : top + height, left : left + width])
    for image in found or ():
        row, column = at(image)
        np.testing.assert_array_equal(image.pixels, paint(ROWS, COLUMNS, row * TILE, column * TILE, TILE, TILE))


def test_openslide_reads_the_same(tmp_path, monkeypatch):
    path = tmp_path / "scan.tif"
    path.write_bytes(aperio())
    with pyramid.opened(Source.of(path)) as ours, openslide.OpenSlide(str(path)) as theirs:
        other = pyramid.OpenSlidePyramid(theirs)
        assert other.shapes == ours.shapes
        assert other.um == ours.um == 0.25
        assert other.facts == ours.facts
        for level, top, left in ((0, 700, 900), (1, 130, 410)):
            np.testing.assert_array_equal(
                other.region(level, top, left, 300, 200), ours.region(level, top, left, 300, 200)
            )
    (tmp_path / "a.mrxs").write_bytes(b"no slide")
    assert "OpenSlide cannot read it" in refusal(tmp_path / "a.mrxs")
    assert "unpack the archive" in refusal(Source("a.mrxs", data=b"no slide"))
    monkeypatch.setitem(sys.modules, "openslide", None)
    assert "pip install openslide-python" in refusal(tmp_path / "a.mrxs")


def test_what_counts_as_a_slide(scan):
    def is_slide(data, name="a.tif"):
        return slide.is_slide(Source(name, data=data))

    def tif(rows, columns, color="rgb", **options):
        file = io.BytesIO()
        pixels = np.zeros((rows, columns, 3) if color == "rgb" else (rows, columns), np.uint8)
        tifffile.imwrite(file, pixels, photometric=color, compression="deflate", **options)
        return file.getvalue()

    assert is_slide(scan)
    assert is_slide(plain())
    assert is_slide(ome())
    assert is_slide(tif(16, 8193))
    assert not is_slide(tif(16, 8192))
    assert not is_slide(tif(16, 8193, "minisblack"))
    assert not is_slide(b"II*\0")
    assert not is_slide(b"")
    assert is_slide(b"", "A.SVS")
    labeled = io.BytesIO()  # a small OME file with a label: no picture either
    with tifffile.TiffWriter(labeled, ome=True) as writer:
        for name in ("scan", "Label"):
            writer.write(flat(64, 64), photometric="rgb", metadata={"axes": "YXS", "Name": name})
    for data in (scan, plain(), labeled.getvalue()):
        assert is_slide(data)
        with pytest.raises(Unreadable, match="whole slide"):
            list(raster.read(data))


def test_fluorescence_and_scans_without_color_are_refused():
    file = io.BytesIO()
    tifffile.imwrite(file, np.zeros((64, 64), np.uint16), description=APERIO, metadata=None)
    assert "8-bit color" in refusal(file.getvalue())
    tiny = io.BytesIO()
    tifffile.imwrite(tiny, flat(64, 64), photometric="rgb", description=APERIO, metadata=None)
    assert "smaller than one tile" in refusal(tiny.getvalue())


# --- memory and damage ------------------------------------------------------------------------------------------------


def test_memory_does_not_grow_with_the_slide(tmp_path):
    """A scan of one level, 450 MB of pixels: all of it is looked through for tissue."""
    side, path = 12288, tmp_path / "large.tif"
    empty, full = flat(512, 512, (GLASS,) * 3), flat(512, 512, (180, 80, 150))
    content = (full if i % 24 in (7, 8, 9) else empty for i in range((side // 512) ** 2))
    options = {"photometric": "rgb", "metadata": None, "compression": "deflate"}
    tifffile.imwrite(path, content, shape=(side, side, 3), dtype=np.uint8, tile=(512, 512), **options)
    assert slide.is_slide(Source.of(path))
    tracemalloc.start()
    count = sum(1 for _ in slide.read(path, ReadOptions(tile_size=512)))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert count == 72
    assert peak < 120 * 2**20  # 32 MiB of decoded tiles, a block of the scan and its overview


def test_damage_is_refused(scan):
    assert "directory" in refusal(scan[:200])
    assert "cannot be read" in refusal(Source("a.svs").path or slide.Path("gone.svs"))
    with tifffile.TiffFile(io.BytesIO(scan)) as opened:
        page = opened.pages[0]
        middle = (ROWS // TILE // 2) * (COLUMNS // TILE) + 5
        start, size = page.dataoffsets[middle], page.databytecounts[middle]
    broken = bytearray(scan)
    broken[start : start + size] = bytes(size)
    found = list(slide.read(bytes(broken), ReadOptions(tile_um=0.25, tiles=10**6)))
    refused = [image for image in found if isinstance(image, Refusal)]
    assert [image.part for image in refused] == [f"tile {ROWS // TILE // 2},5"]
    assert "cannot be decoded" in refused[0].reason


def test_mutated_slides_are_read_or_refused():
    file = io.BytesIO()
    with tifffile.TiffWriter(file) as writer:
        for rows, kind in ((256, 0), (128, 1)):
            pixels = paint(rows, rows, 0, 0, rows, rows, lambda y, x: x > 1000)
            common = {"photometric": "rgb", "metadata": None, "tile": (64, 64), "compression": "deflate"}
            writer.write(pixels, subfiletype=kind, description=APERIO, **common)
    data = file.getvalue()
    rng = np.random.default_rng(3)
    outcomes = set()
    for i in range(200):
        mutated = bytearray(data)
        for place in rng.integers(0, len(mutated) if i % 2 else 300, rng.integers(1, 4)):
            mutated[place] = rng.integers(0, 256)
        try:
            for found in slide.read(bytes(mutated[: rng.integers(1, len(data))] if i % 9 == 0 else mutated), SMALL):
                outcomes.add(type(found))
        except Unreadable:
            outcomes.add(Unreadable)
    assert outcomes >= {Image, Unreadable}


SMALL = ReadOptions(tile_size=32, tile_um=0.25)


# --- tissue -----------------------------------------------------------------------------------------------------------


def test_tissue_is_colored_and_neither_bright_nor_black_nor_ink():
    pixels = np.full((60, 60, 3), GLASS, np.uint8)
    pixels += np.random.default_rng(0).integers(-3, 4, pixels.shape).astype(np.int8).astype(np.uint8)
    stripes = {
        (5, 10): ((190, 110, 160), True), (15, 20): ((214, 180, 205), True), (25, 30): ((20, 0, 10), False),
        (35, 40): ((30, 150, 60), False), (45, 50): ((150, 150, 150), False), (52, 57): ((120, 90, 70), True),
    }  # fmt: skip
    for (top, bottom), (color, _) in stripes.items():
        pixels[top:bottom] = color
    mask = tissue.tissue_mask(pixels)
    for (top, bottom), (_, is_tissue) in stripes.items():
        assert (mask[top:bottom] == is_tissue).all()
    assert mask.sum() == sum((b - a) * 60 for (a, b), (_, is_tissue) in stripes.items() if is_tissue)
    assert tissue.tissue_mask(np.full((20, 20, 3), (190, 110, 160), np.uint8)).all()  # nothing but tissue
    speck = np.full((20, 20, 3), GLASS, np.uint8)
    speck[7, 7] = 190, 110, 160
    assert not tissue.tissue_mask(speck).any()


@given(st.lists(st.integers(0, 50), min_size=2, max_size=30))
def test_otsu_is_the_best_of_all_thresholds(histogram):
    values = np.repeat(np.arange(len(histogram)), histogram)

    def within(threshold):
        parts = (values[values <= threshold], values[values > threshold])
        return sum(part.var() * len(part) for part in parts if len(part))

    found = tissue.otsu(np.array(histogram))
    if len(set(values)) > 1:
        assert within(found) <= min(within(t) for t in range(len(histogram))) + 1e-6
    else:
        assert found == 0


@settings(deadline=None)
@given(st.integers(1, 9), st.integers(1, 9), st.floats(0.3, 6), st.integers(0, 99))
def test_shares_are_those_of_a_slow_count(rows, columns, step, seed):
    shape = (math.ceil(rows * step), math.ceil(columns * step))
    mask = np.random.default_rng(seed).random(shape) < 0.5
    found = tissue.shares(mask, np.arange(rows + 1) * step, np.arange(columns + 1) * step)
    for i in range(rows):
        for j in range(columns):
            top, left = (min(round(n * step), side - 1) for n, side in zip((i, j), shape, strict=True))
            bottom, right = (max(a + 1, round((n + 1) * step)) for n, a in ((i, top), (j, left)))
            assert found[i, j] == pytest.approx(mask[top:bottom, left:right].mean())


@pytest.mark.parametrize("bits", [1, 2, 3, 5])
def test_hilberts_curve_visits_every_cell_by_steps_of_one(bits):
    cells = np.argwhere(np.ones((2**bits, 2**bits)))
    distance = tissue.hilbert(cells)
    assert sorted(distance) == list(range(4**bits))
    path = cells[np.argsort(distance)]
    assert (np.abs(np.diff(path, axis=0)).sum(axis=1) == 1).all()


@given(st.integers(1, 300), st.integers(1, 60), st.integers(0, 99))
def test_spread_takes_as_many_as_it_may(cells, count, seed):
    chosen = np.random.default_rng(seed).permutation(400)[:cells]
    grid = np.argwhere(np.ones((20, 20)))[np.sort(chosen)]
    found = tissue.spread(grid, count)
    assert len(found) == min(cells, count)
    assert len({tuple(cell) for cell in found}) == len(found)
    assert {tuple(cell) for cell in found} <= {tuple(cell) for cell in grid}
    assert [tuple(cell) for cell in found] == sorted(tuple(cell) for cell in found)
