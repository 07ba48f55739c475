"""What a DICOM header says about how its pixels are stored, checked; what is no image or not supported is refused."""

import math
from dataclasses import dataclass

import pydicom
from pydicom.uid import UID, ExplicitVRBigEndian, JPEG2000TransferSyntaxes, UncompressedTransferSyntaxes

from synthcohort.formats.dicom_codecs import CODECS
from synthcohort.formats.dicom_file import Parsed, PixelElement
from synthcohort.formats.dicom_header import get
from synthcohort.formats.image import MAX_PIXELS, Unreadable

MAX_FRAMES = 2**20
NEEDED = (
    "Rows", "Columns", "BitsAllocated", "BitsStored", "PixelRepresentation", "SamplesPerPixel",
    "PhotometricInterpretation",
)  # fmt: skip
NEEDED_BY_FLOATS = ("Rows", "Columns", "BitsAllocated", "SamplesPerPixel", "PhotometricInterpretation")
GRAY = ("MONOCHROME1", "MONOCHROME2")
PALETTE = "PALETTE COLOR"
SUBSAMPLED = ("YBR_FULL_422", "YBR_PARTIAL_422", "YBR_PARTIAL_420")
COLOR = ("RGB", "YBR_FULL", *SUBSAMPLED, "YBR_ICT", "YBR_RCT")
RETIRED = ("HSV", "CMYK", "ARGB")
WHOLE_SLIDE = "1.2.840.10008.5.1.4.1.1.77.1.6"
# SOP classes that are no images, by the beginning of their UIDs. Source: DICOM PS3.4 B.5 and PS3.3 F.
_STORAGE = "1.2.840.10008.5.1.4.1.1."
DIRECTORY = "1.2.840.10008.1.3.10"
NO_IMAGES = {
    DIRECTORY: "a DICOMDIR, a list of other files",
    _STORAGE + "11.": "a presentation state, which says how another image is shown",
    _STORAGE + "88.": "a structured report",
    _STORAGE + "104.": "a document in a DICOM envelope",
    _STORAGE + "481.": "a radiotherapy object",
    _STORAGE + "66": "a segmentation, a registration or raw data",
    _STORAGE + "9.": "a waveform",
}


@dataclass(frozen=True)
class Layout:
    """How the pixels of an object lie in its file. Source: DICOM PS3.3 C.7.6.3."""

    rows: int
    columns: int
    samples: int
    allocated: int  # bits of a cell
    bits: int  # bits stored in it
    high_bit: int
    signed: bool
    floating: bool
    photometric: str
    planar: bool
    frames: int
    syntax: UID
    element: PixelElement
    notes: tuple[str, ...] = ()

    @property
    def big_endian(self) -> bool:
        return bool(self.syntax == ExplicitVRBigEndian)

    @property
    def native(self) -> bool:
        return self.element.length is not None

    @property
    def shape(self) -> tuple[int, ...]:
        return (self.rows, self.columns) if self.samples == 1 else (self.rows, self.columns, self.samples)

    @property
    def frame_bits(self) -> int:
        """Size of an uncompressed frame; two pixels share their chroma where that is subsampled."""
        samples = 2 if self.native and self.photometric in SUBSAMPLED else self.samples
        return self.rows * self.columns * samples * self.allocated


def layout(parsed: Parsed) -> Layout:
    """Raises Unreadable for everything that must not be decoded."""
    ds, element = parsed.ds, parsed.element
    _check_class(ds, element)
    assert element is not None
    floating = element.keyword != "PixelData"
    says = {name: get(ds, name) for name in (NEEDED_BY_FLOATS if floating else NEEDED)}
    if missing := [name for name, value in says.items() if value in (None, "")]:
        raise Unreadable(f"damaged: {', '.join(missing)} missing")
    if parsed.syntax is None:
        raise Unreadable("damaged: (0002,0010) Transfer Syntax UID missing")
    _check_syntax(parsed.syntax, element)
    frames = int(get(ds, "NumberOfFrames") or 1)
    if not 1 <= frames <= MAX_FRAMES:
        raise Unreadable(f"(0028,0008) Number of Frames is {frames}; allowed: 1 to {MAX_FRAMES}")
    allocated = int(says["BitsAllocated"])
    bits = allocated if floating else int(says["BitsStored"])
    high_bit, notes = _high_bit(ds, bits, allocated)
    found = Layout(
        int(says["Rows"]), int(says["Columns"]), int(says["SamplesPerPixel"]), allocated, bits, high_bit,
        floating or bool(says["PixelRepresentation"]), floating, str(says["PhotometricInterpretation"]),
        bool(get(ds, "PlanarConfiguration") or 0), frames, parsed.syntax, element, parsed.notes + notes,
    )  # fmt: skip
    _check_pixels(found)
    if get(ds, "SOPClassUID") == WHOLE_SLIDE and frames > 1:
        raise Unreadable("a DICOM whole-slide image of more than one tile is not supported: convert it to TIFF or SVS")
    return found


def _check_class(ds: pydicom.Dataset, element: PixelElement | None) -> None:
    uid = UID(get(ds, "SOPClassUID") or ds.file_meta.get("MediaStorageSOPClassUID") or "")
    # Only a class that the standard names may be named: a private UID can tell where a file comes from.
    kind = next((what for prefix, what in NO_IMAGES.items() if uid.startswith(prefix)), None)
    if kind is None and element is not None:
        return
    name = f" ({uid.name})" if uid and not uid.is_private and uid.name != uid else ""
    if kind is None and "DirectoryRecordSequence" in ds:
        kind = NO_IMAGES[DIRECTORY]
    raise Unreadable(f"not an image: {kind}{name}" if kind else f"no pixel data: not an image{name}")


def _check_syntax(syntax: UID, element: PixelElement) -> None:
    if syntax.is_private or not syntax.is_transfer_syntax:
        raise Unreadable("unsupported transfer syntax: private or unknown")
    native = syntax in UncompressedTransferSyntaxes
    if not native and syntax not in CODECS:
        raise Unreadable(f"unsupported transfer syntax: {syntax.name}")
    if native != (element.length is not None):
        found = "compressed" if native else "uncompressed"
        raise Unreadable(f"damaged: its pixel data are {found}, its transfer syntax is {syntax.name}")
    if not native and element.keyword != "PixelData":
        raise Unreadable("floating point pixel data cannot be compressed")


def _high_bit(ds: pydicom.Dataset, bits: int, allocated: int) -> tuple[int, tuple[str, ...]]:
    given = get(ds, "HighBit")
    if given in (None, "") or bits == allocated:
        return bits - 1, ()
    if bits - 1 <= int(given) < allocated:
        return int(given), ()
    return bits - 1, ("High Bit cannot be right: the lowest bits of each cell were taken",)


def _check_pixels(of: Layout) -> None:
    known = (*GRAY, PALETTE, *COLOR)
    if of.photometric not in known:
        word = of.photometric if of.photometric in RETIRED else "of an unknown kind"
        raise Unreadable(f"(0028,0004) Photometric Interpretation is {word}; supported: {', '.join(known)}")
    if of.samples != (3 if of.photometric in COLOR else 1):
        raise Unreadable(f"(0028,0002) Samples per Pixel is {of.samples}, which {of.photometric} does not have")
    allowed = (32, 64) if of.floating else (1, 8, 16, 32)
    if of.allocated not in allowed or (of.allocated == 1 and not (of.native and of.photometric in GRAY)):
        raise Unreadable(f"(0028,0100) Bits Allocated is {of.allocated}; supported: {', '.join(map(str, allowed))}")
    if not 1 <= of.bits <= of.allocated:
        raise Unreadable(f"(0028,0101) Bits Stored is {of.bits}; allowed: 1 to {of.allocated}")
    if of.photometric.startswith("YBR_PARTIAL") and of.bits != 8:
        raise Unreadable(f"{of.photometric} of {of.bits} bits is not supported")
    if (of.floating or of.allocated == 32) and of.photometric not in (*GRAY, "RGB"):
        raise Unreadable(f"{of.photometric} of {of.allocated} bits is not supported")
    if not 0 < of.rows * of.columns * of.samples <= MAX_PIXELS:
        raise Unreadable(f"{of.rows} x {of.columns} pixels; allowed: 1 to {MAX_PIXELS}")
    if of.photometric in ("YBR_ICT", "YBR_RCT") and of.syntax not in JPEG2000TransferSyntaxes:
        raise Unreadable(f"damaged: {of.photometric} without JPEG 2000")
    if not of.native:
        return
    if of.photometric == "YBR_PARTIAL_420":
        raise Unreadable("uncompressed YBR_PARTIAL_420 is not supported")
    if of.photometric in SUBSAMPLED and of.columns % 2:
        raise Unreadable(f"damaged: {of.photometric} with an odd number of columns")
    expected = math.ceil(of.frame_bits * of.frames / 8)
    assert of.element.length is not None
    if of.element.length < expected:
        raise Unreadable("damaged: its pixel data are shorter than its header says")
    if of.photometric in SUBSAMPLED and of.element.length >= expected * 3 // 2:
        raise Unreadable(f"damaged: its header says {of.photometric}, but its pixel data are not subsampled")
