"""The marking that every exported image carries: it says by itself that it is synthetic, whatever folder it lies in."""

from collections.abc import Callable
from pathlib import Path

from synthcohort.formats import dicom_export, nifti_export, parquet_export, png_export

MARKED: dict[str, Callable[[Path], list[str]]] = {
    ".dcm": dicom_export.marking_problems,
    ".png": png_export.marking_problems,
    ".nii.gz": nifti_export.marking_problems,
    ".parquet": parquet_export.marking_problems,
}


def is_marked_kind(path: Path) -> bool:
    """Whether files of this kind carry a marking."""
    return path.name.lower().endswith(tuple(MARKED))


def marking_problems(path: Path) -> list[str]:
    """What an image file lacks of the marking that its kind must carry; empty when all is there."""
    name = path.name.lower()
    for suffix, check in MARKED.items():
        if name.endswith(suffix):
            return check(path)
    return ["is of a kind that carries no marking"]
