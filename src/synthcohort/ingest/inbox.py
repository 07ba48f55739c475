"""A folder that DICOM files arrive in from the network, one at a time, each whole or absent.

Words: an *instance* is a DICOM object as it arrives; its *name* is made from a digest of its SOP Instance UID, so that
no file name says anything of a patient, and the same instance always has the same name. Folder and files are their
owner's alone: they hold what the hospital sent.
"""

import hashlib
import mmap
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal

import pydicom
from pydicom.dataelem import RawDataElement
from pydicom.uid import DeflatedExplicitVRLittleEndian

from synthcohort.core.files import remove
from synthcohort.formats import Unreadable

ARRIVING = ".arriving"  # unfinished files, inside the folder so that a finished one is renamed and not copied
_SOP_CLASS, _SOP_INSTANCE = 0x00080016, 0x00080018
_LONG_VRS = {b"OB", b"OW", b"OF", b"OD", b"OL", b"OV", b"UN"}
_PIXELS = (0x7FE00010, 0x7FE00008, 0x7FE00009)
_UNDEFINED = 0xFFFFFFFF


@dataclass(frozen=True)
class Instance:
    """What a DICOM file says it is. For routing only: UIDs are identifiers and belong in no message."""

    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str


def prepare(folder: Path) -> None:
    """Makes the folder, for its owner only, and drops what an interrupted run left unfinished."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    remove(folder / ARRIVING)
    (folder / ARRIVING).mkdir(mode=0o700)


def close(folder: Path) -> None:
    """Drops what is unfinished."""
    remove(folder / ARRIVING)


def is_uid(text: object) -> bool:
    """Whether a text is a UID as far as it may stand in an address (DICOM PS3.5 9.1, leading zeros let through)."""
    return isinstance(text, str) and 0 < len(text) <= 64 and set(text) <= set("0123456789.")


def name_of(sop_instance_uid: str) -> str:
    """The relative file name of an instance; a folder for each of 256 beginnings keeps folders small."""
    digest = hashlib.sha256(f"SOP Instance UID {sop_instance_uid}".encode()).hexdigest()[:32]
    return f"{digest[:2]}/{digest}.dcm"


@contextmanager
def arriving(folder: Path) -> Iterator[tuple[Path, BinaryIO]]:
    """A new file to write an instance to; removed at the end, unless `keep` gave it its name."""
    path = folder / ARRIVING / f"{os.urandom(12).hex()}.part"
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield path, file
    finally:
        path.unlink(missing_ok=True)


def keep(folder: Path, path: Path, sop_instance_uid: str) -> Path:
    """Gives a finished file its name; what bears a name is whole, also after a power cut.

    An existing file is never replaced: callers see to it that no two threads keep one instance at the same time.
    Raises FileExistsError when the instance is there already.
    """
    kept = folder / name_of(sop_instance_uid)
    if kept.exists():
        raise FileExistsError(kept)
    kept.parent.mkdir(exist_ok=True, mode=0o700)
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    os.rename(path, kept)
    return kept


@contextmanager
def quiet() -> Iterator[None]:
    """Silences warnings, for all threads: to be entered once, in the main one."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def inspect(path: Path) -> Instance:
    """Which instance a file holds. Raises Unreadable when it is no DICOM file, or cut off.

    pydicom's warnings quote header values: callers run it within `quiet`.
    """
    with open(path, "rb") as file:
        try:
            ds = pydicom.dcmread(file, stop_before_pixels=True)
            syntax = str(ds.file_meta.TransferSyntaxUID)
            found = [_raw_text(ds, tag) for tag in (_SOP_CLASS, _SOP_INSTANCE)]
            whole = syntax == DeflatedExplicitVRLittleEndian or _is_whole(file, ds)
        except Exception as error:  # a damaged header may fail anywhere, with any exception
            raise Unreadable(f"damaged: not understood as DICOM ({type(error).__name__})") from None
    if not all(map(is_uid, found)):
        raise Unreadable("damaged: SOP Class UID or SOP Instance UID is missing or malformed")
    if not whole:
        raise Unreadable("damaged: cut off")
    return Instance(found[0], found[1], syntax)


def _raw_text(ds: pydicom.Dataset, tag: int) -> str:
    """A UID as it stands in the file, without pydicom's conversion, which warns with the value."""
    element = ds.get_item(tag)
    value = element.value if element is not None else b""
    text = value.decode("ascii", "replace") if isinstance(value, bytes) else str(value or "")
    return text.rstrip("\0 ").strip()


def _ends_well(ds: pydicom.Dataset, size: int) -> bool:
    """Whether a file without pixel data ends where its last element does, and is none that should have pixels."""
    if "Rows" in ds and "PixelDataProviderURL" not in ds:
        return False
    last = ds.get_item(max(ds.keys()))
    if not isinstance(last, RawDataElement) or last.length == _UNDEFINED:
        return True  # a sequence that says its own end
    return last.value_tell + last.length == size


def _is_whole(file: BinaryIO, ds: pydicom.Dataset) -> bool:
    """Whether the file goes on to the end of its pixel data, or of its last element where it has none."""
    end = file.tell()
    size = file.seek(0, os.SEEK_END)
    file.seek(end)
    implicit, little = ds.original_encoding
    order: Literal["little", "big"] = "little" if little else "big"
    head = file.read(12)
    if end == size:
        return _ends_well(ds, size)
    if len(head) < 8:
        return False
    tag = (int.from_bytes(head[:2], order) << 16) + int.from_bytes(head[2:4], order)
    if tag not in _PIXELS:
        return False  # the header ends in the middle of an element
    if implicit:
        start, length = end + 8, int.from_bytes(head[4:8], order)
    elif head[4:6] in _LONG_VRS:
        start, length = end + 12, int.from_bytes(head[8:12], order)
    else:
        return False
    if length != _UNDEFINED:
        return start + length <= size
    # Encapsulated pixel data ends with a Sequence Delimitation Item (DICOM PS3.5 A.4); most often the file does, too.
    with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        return content.rfind(b"\xfe\xff\xdd\xe0\0\0\0\0", start) >= 0
