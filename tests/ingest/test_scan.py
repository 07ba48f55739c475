import os

import pytest

from synthcohort.core.errors import InputError
from synthcohort.ingest.scan import scan


def test_everything_is_found_once_and_named(tmp_path):
    files = {
        "b/2.png": b"x", "a.jpg": b"x", "b/1.dcm": b"x", "IM0001": b"\0" * 128 + b"DICM", "volume.nii.gz": b"x",
        "metadata.csv": b"file\n", "b/more.TSV": b"", "notes.txt": b"hello", "Thumbs.db": b"", ".hidden.png": b"",
        "__MACOSX/._a.jpg": b"", ".git/a.png": b"",
    }  # fmt: skip
    for name, data in files.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(data)
    listing = scan(tmp_path)
    assert [(file.name, file.format) for file in listing.images] == [
        ("IM0001", "dicom"), ("a.jpg", "raster"), ("b/1.dcm", "dicom"), ("b/2.png", "raster"),
        ("volume.nii.gz", "unsupported:NIfTI"),
    ]  # fmt: skip
    assert listing.tables == ("b/more.TSV", "metadata.csv")
    assert dict(listing.ignored) == {
        ".git": "hidden", ".hidden.png": "hidden", "Thumbs.db": "a preview cache", "__MACOSX": "an archive's leftover",
        "notes.txt": "not an image",
    }  # fmt: skip


def test_links_do_not_lead_out(tmp_path):
    outside, source = tmp_path / "outside", tmp_path / "source"
    (outside / "deep").mkdir(parents=True)
    source.mkdir()
    (outside / "secret.png").write_bytes(b"x")
    (source / "own.png").write_bytes(b"x")
    os.symlink(outside / "secret.png", source / "link.png")
    os.symlink(outside, source / "folder")
    os.symlink(source, source / "loop")
    os.symlink(source / "gone.png", source / "broken.png")
    os.symlink(source / "own.png", source / "alias.png")
    listing = scan(source)
    assert [file.name for file in listing.images] == ["alias.png", "own.png"]
    assert {name for name, _ in listing.ignored} == {"link.png", "folder", "loop", "broken.png"}


def test_the_output_inside_the_source_is_not_read(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "x.png").write_bytes(b"x")
    (tmp_path / "a.png").write_bytes(b"x")
    assert [file.name for file in scan(tmp_path, exclude=[tmp_path / "out"]).images] == ["a.png"]


def test_what_is_no_folder_of_images(tmp_path):
    with pytest.raises(InputError, match="no images found"):
        scan(tmp_path)
    with pytest.raises(InputError, match="no such folder"):
        scan(tmp_path / "nowhere")
    (tmp_path / "a.zip").write_bytes(b"PK")
    with pytest.raises(InputError, match="is a file"):
        scan(tmp_path / "a.zip")
