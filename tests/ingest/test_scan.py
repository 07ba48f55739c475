import os
import time
import zipfile

import pytest

from synthcohort.core.errors import InputError
from synthcohort.ingest.scan import scan
from synthcohort.ingest.table import read_table


def fill(folder, files):
    for name, data in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


def pack(path, files):
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)


FILES = {
    "b/2.png": b"x", "a.jpg": b"x", "b/1.dcm": b"x", "IM0001": b"\0" * 128 + b"DICM",
    "metadata.csv": b"file\na.jpg\n", "b/more.TSV": b"", "notes.txt": b"hello", "Thumbs.db": b"", ".hidden.png": b"",
    "__MACOSX/._a.jpg": b"", ".git/a.png": b"", "list.xlsx": b"PK", "old.tar.gz": b"x", "1.dcm.gz": b"x",
}  # fmt: skip
IMAGES = ["IM0001", "a.jpg", "b/1.dcm", "b/2.png"]


def test_everything_is_found_once_and_named(tmp_path):
    fill(tmp_path, FILES)
    listing = scan(tmp_path)
    assert [(file.name, file.format) for file in listing.images] == [
        ("IM0001", "dicom"), ("a.jpg", "raster"), ("b/1.dcm", "dicom"), ("b/2.png", "raster"),
    ]  # fmt: skip
    assert [file.size for file in listing.images] == [132, 1, 1, 1]
    assert listing.tables == ("b/more.TSV", "metadata.csv")
    assert dict(listing.ignored) == {
        ".git": "hidden", ".hidden.png": "hidden", "Thumbs.db": "a preview cache", "__MACOSX": "an archive's leftover",
        "notes.txt": "not an image", "list.xlsx": "a spreadsheet; save it as CSV to have it read",
    }  # fmt: skip
    assert dict(listing.refused) == {
        "old.tar.gz": "an archive that is not read; unpack it, or pack it as a zip file",
        "1.dcm.gz": "compressed with gzip; unpack it",
    }


@pytest.mark.parametrize("inside", [True, False], ids=["archive in a folder", "archive as the source"])
def test_an_archive_is_listed_as_a_folder_is(tmp_path, inside):
    pack(tmp_path / "x.zip", FILES)
    listing = scan(tmp_path if inside else tmp_path / "x.zip")
    assert [file.name for file in listing.images] == [f"x.zip/{name}" for name in IMAGES]
    assert [file.size for file in listing.images] == [132, 1, 1, 1]
    assert listing.tables == ("x.zip/b/more.TSV", "x.zip/metadata.csv")
    assert [name.rpartition(" (")[0] or name for name, _ in listing.refused] == ["x.zip/old.tar.gz", "x.zip/1.dcm.gz"]
    everything = (*listing.images, *listing.tables, *listing.ignored, *listing.refused)
    assert len(everything) == len(FILES)
    assert listing.source(listing.images[0]).read() == FILES["IM0001"]
    assert listing.source("x.zip/metadata.csv").read() == FILES["metadata.csv"]
    assert read_table(listing.root, "x.zip/metadata.csv").rows == ({"file": "a.jpg"},)


def test_damaged_and_deceiving_archives_are_refusals_among_the_rest(tmp_path):
    fill(tmp_path, {"a.png": b"x", "broken.zip": b"PK\3\4 cut off"})
    pack(
        tmp_path / "tricks.zip", {"../up.png": b"", "../notes.txt": b"", "../IM0001": b"", "b.png": b"", "in.zip": b""}
    )
    listing = scan(tmp_path)
    assert [file.name for file in listing.images] == ["a.png", "tricks.zip/b.png"]
    assert dict(listing.refused) == {
        "broken.zip": "damaged, cut off, or no zip archive",
        "tricks.zip/../up.png (member 0)": "its name leads out of the archive",
        "tricks.zip/../IM0001 (member 2)": "its name leads out of the archive",
        "tricks.zip/in.zip (member 4)": "an archive inside an archive; unpack the outer one and give the folder",
    }
    assert dict(listing.ignored) == {"tricks.zip/../notes.txt (member 1)": "its name leads out of the archive"}


def test_a_single_file_is_a_source(tmp_path):
    fill(tmp_path, {"a.png": b"x", "b.png": b"x"})
    listing = scan(tmp_path / "b.png")
    assert [file.name for file in listing.images] == ["b.png"]
    assert listing.source(listing.images[0]).path == (tmp_path / "b.png").resolve()


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
    fill(tmp_path, {"out/x.png": b"x", "a.png": b"x"})
    assert [file.name for file in scan(tmp_path, exclude=[tmp_path / "out"]).images] == ["a.png"]


def test_a_folder_that_cannot_be_read_is_refused_among_the_rest(tmp_path, monkeypatch):
    fill(tmp_path, {"a.png": b"x", "locked/b.png": b"x", "open/c.png": b"x"})
    real = os.scandir

    def scandir(path):  # the rights of files stop nobody who runs the tests as root
        if os.fspath(path).endswith(("locked", "root")):
            raise PermissionError(13, "Permission denied")
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    listing = scan(tmp_path)
    assert [file.name for file in listing.images] == ["a.png", "open/c.png"]
    assert listing.refused == (("locked", "a folder that cannot be listed (Permission denied)"),)
    (tmp_path / "root").mkdir()
    with pytest.raises(InputError, match="cannot be listed"):
        scan(tmp_path / "root")


def test_a_suffix_that_decides_needs_no_look_into_the_file(tmp_path, monkeypatch):
    fill(tmp_path, {f"{i}.png": b"x" for i in range(3)})
    monkeypatch.setattr("builtins.open", None)
    assert len(scan(tmp_path).images) == 3


def test_many_files_are_listed_in_seconds(tmp_path):
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        for i in range(20000):
            archive.writestr(f"class{i % 5}/{i:05d}.png", b"x")
    start = time.process_time()
    assert len(scan(tmp_path).images) == 20000
    assert time.process_time() - start < 10


def test_what_is_no_source(tmp_path):
    with pytest.raises(InputError, match="no images found"):
        scan(tmp_path)
    with pytest.raises(InputError, match="no such folder"):
        scan(tmp_path / "nowhere")
    (tmp_path / "a.zip").write_bytes(b"PK")
    with pytest.raises(InputError, match=r"nothing that can be read \(1 refused: damaged"):
        scan(tmp_path / "a.zip")
    (tmp_path / "a.txt").write_bytes(b"x")
    with pytest.raises(InputError, match="no images found"):
        scan(tmp_path / "a.txt")
