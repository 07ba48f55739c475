import io

import numpy as np
import PIL.Image
import pytest

from synthcohort.formats.image import Place
from synthcohort.imaging.geometry import placement
from synthcohort.ingest.decode import Decoded, Task, _moved, decode
from synthcohort.ingest.scan import SourceFile


@pytest.fixture
def source(tmp_path):
    """40 images and a broken one in the middle."""
    files = []
    for number in range(41):
        data = io.BytesIO()
        PIL.Image.fromarray(np.random.default_rng(number).integers(0, 255, (20, 30), np.uint8)).save(data, "PNG")
        name = f"{number:02d}.png"
        (tmp_path / name).write_bytes(b"broken" if number == 20 else data.getvalue())
        files.append(SourceFile(name, (tmp_path / name).stat().st_size, "raster"))
    return tmp_path, files


def task(root, size=None, fit="pad", **more):
    return Task(root, size, fit, bytes(32), **more)


def one(file, own):
    (item,) = decode(file, own)
    return item


def test_native_size_keeps_everything(source):
    root, files = source
    item = one(files[0], task(root))
    assert isinstance(item, Decoded)
    np.testing.assert_array_equal(item.pixels, np.array(PIL.Image.open(root / "00.png")))
    assert (item.facts["dtype"], item.facts["nbytes"], item.facts["bits_stored"]) == ("uint8", 600, 8)
    assert item.fingerprint is not None
    assert one(files[0], task(root, fingerprints=False)).fingerprint is None


@pytest.mark.parametrize("fit", ["pad", "crop", "stretch"])
def test_resizing_gives_the_size_asked_for_and_finds_copies_before_it(source, fit):
    root, files = source
    item = one(files[0], task(root, (16, 16), fit))
    assert item.pixels.shape == (16, 16)
    assert item.facts["content_digest"] == one(files[0], task(root)).facts["content_digest"]
    assert (item.pixels[:2] == 0).all() == (fit == "pad")


def test_refusals_are_reasons_not_exceptions(source):
    root, files = source
    assert one(files[20], task(root)).reason.startswith("not a PNG, JPEG")
    assert one(SourceFile("x.nrrd", 1, "unsupported:NRRD"), task(root)).reason == "NRRD files are not supported"
    assert "cannot be read" in one(SourceFile("gone.png", 1, "raster"), task(root)).reason


def test_a_standardized_slice_lies_where_its_pixels_lie():
    place = Place((10.0, 20.0, 30.0), (1.0, 0.0, 0.0, 0.0, 1.0, 0.0))
    halved = _moved(place, (2.0, 1.0), placement((8, 8), (4, 4)))
    assert halved.position_mm == (10.5, 21.0, 30.0)  # between the first two pixels, each way
    cropped = _moved(place, (2.0, 1.0), placement((8, 12), (8, 8), "crop"))
    assert cropped.position_mm == (12.0, 20.0, 30.0)
    assert _moved(place, (2.0, 1.0), placement((8, 8), (8, 8))) == place
