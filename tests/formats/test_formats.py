"""Which reader a file is for."""

import subprocess
import sys

import pytest

from synthcohort.formats import FORMATS, MAGICS, SUFFIXES, TIFF_SUFFIXES, format_of, nifti, raster, slide, tiff


def test_the_list_of_endings_is_that_of_the_readers():
    assert SUFFIXES["nifti"] == nifti.SUFFIXES
    assert SUFFIXES["raster"] == raster.SUFFIXES
    assert SUFFIXES["slide"] == slide.SUFFIXES
    assert TIFF_SUFFIXES == tiff.SUFFIXES
    assert set(MAGICS) < {*raster.MAGICS, *tiff.MAGICS}
    assert set(SUFFIXES) < set(FORMATS)
    endings = [suffix for suffixes in SUFFIXES.values() for suffix in suffixes]
    assert len(endings) == len(set(endings))


@pytest.mark.parametrize(
    ("name", "head", "expected"),
    [
        ("a/B.NII.GZ", b"", "nifti"),
        ("scan.Tiff", b"", "raster"),
        ("slide.svs", b"", "slide"),
        ("pneumonia.npz", b"", "numpy"),
        ("train-0.parquet", b"", "parquet"),
        ("film.mp4", b"", "unsupported:video"),
        ("IM0001", b"\0" * 128 + b"DICM", "dicom"),
        ("IM0001", b"MM\0*", "raster"),
        ("IM0001", b"notes", None),
        ("notes.txt", b"", None),
    ],
)
def test_name_first_then_bytes(name, head, expected):
    assert format_of(name, head) == expected


def test_readers_are_loaded_when_needed():
    code = "import sys, synthcohort.formats; print([m for m in ('pydicom', 'tifffile', 'scipy') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
