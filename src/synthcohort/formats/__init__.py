"""File formats, one module each: a source to images, one by one, or an `Unreadable` that says why not.

Readers are loaded when the first file of their kind is read: some bring large libraries with them.
"""

from collections.abc import Callable, Iterator
from importlib import import_module

from synthcohort.formats.image import Image, Place, ReadOptions, Refusal, Source, Unreadable

__all__ = ["FORMATS", "Image", "Place", "ReadOptions", "Refusal", "Source", "Unreadable", "format_of"]

Reader = Callable[[Source, ReadOptions], Iterator[Image | Refusal]]

TIFF_SUFFIXES = (".tif", ".tiff", ".btf", ".tf8")
SUFFIXES: dict[str, tuple[str, ...]] = {
    "dicom": (".dcm", ".dicom", ".ima", ".dic"),
    "nifti": (".nii", ".nii.gz", ".hdr"),
    "slide": (".svs", ".ndpi", ".scn", ".qptiff", ".mrxs", ".vms", ".vmu", ".bif", ".svslide"),
    "raster": (
        ".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".bmp", ".dib", ".gif", ".webp", ".jp2", ".j2k", ".jpf", ".jpx",
        ".j2c", ".jpc", *TIFF_SUFFIXES,
    ),
    "numpy": (".npz", ".npy"),
    "parquet": (".parquet", ".parq"),
}  # fmt: skip
MAGICS = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"\0\0\0\x0cjP  ", b"GIF8", b"II*\0", b"MM\0*")  # of pictures
# What is certainly an image and is not read: refused by name rather than ignored.
OTHER_IMAGES = {
    ".mha": "MetaImage", ".mhd": "MetaImage", ".nrrd": "NRRD", ".nhdr": "NRRD", ".mgz": "FreeSurfer",
    ".mgh": "FreeSurfer", ".h5": "HDF5", ".hdf5": "HDF5", ".czi": "Zeiss CZI", ".lif": "Leica LIF",
    ".nd2": "Nikon ND2", ".vsi": "Olympus VSI", ".heic": "HEIC", ".heif": "HEIC", ".avif": "AVIF",
    ".psd": "Photoshop", ".svg": "SVG", ".pdf": "PDF", ".avi": "video", ".mp4": "video", ".mov": "video",
    ".mkv": "video", ".wmv": "video",
}  # fmt: skip


def format_of(name: str, head: bytes) -> str | None:
    """Which reader a file is for, by its name and its first 132 bytes; None when it is not an image.

    The name decides what a file claims to be, so that a text file called .dcm is refused and not overlooked.
    """
    lower = name.lower()
    for kind, suffixes in SUFFIXES.items():
        if lower.endswith(suffixes):
            return kind
    other = next((word for suffix, word in OTHER_IMAGES.items() if lower.endswith(suffix)), None)
    if other:
        return f"unsupported:{other}"
    if head.startswith(MAGICS):
        return "raster"
    if head[128:132] == b"DICM":
        return "dicom"
    if head[:1] in (b"\x02", b"\x08") or head[1:2] in (b"\x02", b"\x08"):  # a group of DICOM's, of either byte order
        from synthcohort.formats.dicom import looks_like_dicom

        return "dicom" if looks_like_dicom(head) else None
    return None


def _reader(module: str) -> Reader:
    def read(source: Source, options: ReadOptions) -> Iterator[Image | Refusal]:
        found: Iterator[Image | Refusal] = import_module(f"synthcohort.formats.{module}").read(source, options)
        return found

    return read


def _picture(source: Source, options: ReadOptions) -> Iterator[Image | Refusal]:
    """A picture, or a whole slide where a TIFF file is one."""
    if source.name.lower().endswith(TIFF_SUFFIXES):
        from synthcohort.formats import slide

        if slide.is_slide(source):
            return slide.read(source, options)
    return FORMATS["flat"](source, options)


FORMATS: dict[str, Reader] = {
    "dicom": _reader("dicom"),
    "nifti": _reader("nifti"),
    "slide": _reader("slide"),
    "raster": _picture,
    "flat": _reader("raster"),
    "numpy": _reader("medmnist"),
    "parquet": _reader("table_images"),
}
