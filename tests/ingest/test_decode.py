import io

import numpy as np
import PIL.Image
import pytest

from synthcohort.ingest import decode as module
from synthcohort.ingest.decode import Decoded, Failed, Task, choose_workers, decode, decode_all
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


def task(root, size=None, fit="pad"):
    return Task(root, size, fit, bytes(32))


def test_native_size_keeps_everything(source):
    root, files = source
    item = decode(files[0], task(root))
    assert isinstance(item, Decoded)
    np.testing.assert_array_equal(item.pixels, np.array(PIL.Image.open(root / "00.png")))
    assert item.kind == ("uint8", 1)
    assert item.nbytes == 600


@pytest.mark.parametrize("fit", ["pad", "crop", "stretch"])
def test_resizing_gives_the_size_asked_for_and_finds_copies_before_it(source, fit):
    root, files = source
    item = decode(files[0], task(root, (16, 16), fit))
    assert item.pixels.shape == (16, 16)
    assert item.content_digest == decode(files[0], task(root)).content_digest
    assert (item.pixels[:2] == 0).all() == (fit == "pad")


def test_refusals_are_reasons_not_exceptions(source):
    root, files = source
    assert decode(files[20], task(root)) == Failed("20.png", "not a PNG or JPEG file, whatever its name says")
    assert decode(SourceFile("x.nii", 1, "unsupported:NIfTI"), task(root)).reason == "NIfTI files are not supported yet"
    assert "cannot be read" in decode(SourceFile("gone.png", 1, "raster"), task(root)).reason


def same(a, b):
    return [(x.name, getattr(x, "content_digest", None), getattr(x, "source_digest", None)) for x in a] == [
        (x.name, getattr(x, "content_digest", None), getattr(x, "source_digest", None)) for x in b
    ]


def test_several_processes_give_the_same_in_the_same_order(source):
    root, files = source
    alone = list(decode_all(files, task(root, (8, 8)), workers=1))
    together = list(decode_all(files, task(root, (8, 8)), workers=2))
    assert [item.name for item in alone] == [file.name for file in files]
    assert same(alone, together)
    assert all(
        np.array_equal(a.pixels, b.pixels) for a, b in zip(alone, together, strict=True) if isinstance(a, Decoded)
    )


def test_a_broken_pool_goes_on_in_one_process(source, monkeypatch):
    root, files = source

    class Broken:
        def __init__(self, *args, **kwargs): ...
        def __enter__(self):
            raise module.BrokenProcessPool

        def __exit__(self, *args): ...

    monkeypatch.setattr(module, "ProcessPoolExecutor", Broken)
    said = []
    results = list(decode_all(files, task(root), workers=2, warn=said.append))
    assert same(results, decode_all(files, task(root), workers=1))
    assert len(said) == 1


def test_processes_are_started_only_where_they_pay():
    assert choose_workers(10**6) == 1
    assert choose_workers(10**10) >= 1
