"""File formats, one module each: bytes to an `Image`, or an `Unreadable` that says why not."""

from collections.abc import Callable

from synthcohort.formats import dicom, raster
from synthcohort.formats.image import Image, Unreadable

__all__ = ["FORMATS", "Image", "Unreadable", "format_of"]

DICOM_SUFFIXES = (".dcm", ".dicom", ".ima")
RASTER_SUFFIXES = (".png", ".jpg", ".jpeg", ".jpe")
# What is certainly an image and not read yet: refused by name rather than ignored.
OTHER_IMAGES = {
    ".nii": "NIfTI", ".nii.gz": "NIfTI", ".tif": "TIFF", ".tiff": "TIFF", ".bmp": "BMP", ".gif": "GIF", ".webp": "WebP",
    ".svs": "whole-slide", ".ndpi": "whole-slide", ".mrxs": "whole-slide", ".npz": "NumPy archive", ".npy": "NumPy",
    ".zip": "zip archive", ".jp2": "JPEG 2000", ".mha": "MetaImage", ".mhd": "MetaImage", ".nrrd": "NRRD",
    ".parquet": "parquet",
}  # fmt: skip


def format_of(name: str, head: bytes) -> str | None:
    """Which reader a file is for, by its name and its first 132 bytes; None when it is not an image.

    The name decides what a file claims to be, so that a text file called .dcm is refused and not overlooked.
    """
    lower = name.lower()
    if lower.endswith(DICOM_SUFFIXES):
        return "dicom"
    if lower.endswith(RASTER_SUFFIXES):
        return "raster"
    other = next((word for suffix, word in OTHER_IMAGES.items() if lower.endswith(suffix)), None)
    if other:
        return f"unsupported:{other}"
    if head[128:132] == b"DICM":
        return "dicom"
    if head.startswith((raster.PNG_MAGIC, raster.JPEG_MAGIC)):
        return "raster"
    return None


FORMATS: dict[str, Callable[[bytes], Image]] = {"dicom": dicom.read, "raster": raster.read}
