"""NIfTI: volumes of one or several times, a slice at a time, as a radiologist sees them and with their place.

Read are NIfTI-1 and NIfTI-2, as `.nii`, `.nii.gz` and as a pair of `.hdr` and `.img`. Which axis is which, and which
way they run, is taken from the header as nibabel does: the sform where its code is set, else the qform. `orient` says
how slices are cut and shown, `voxels` how numbers become pixels. Free text of the header (descrip, intent_name,
aux_file, db_name, extensions) may hold names and is never looked at.

Memory: a plain file is mapped, a compressed one of up to 256 MiB is unpacked once; a larger one is unpacked twice, one
volume at a time: first to check it and find its span, then to give its slices.
Source: NIfTI-1 data format, nifti1.h (2003); NIfTI-2 (2011).
"""

import gzip
import io
import re
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any, cast

import nibabel
import numpy as np

from synthcohort.formats.fingerprint import fingerprint
from synthcohort.formats.image import MAX_PIXELS, Image, ReadOptions, Refusal, Source, Unreadable
from synthcohort.formats.orient import Slicing, slicing
from synthcohort.formats.voxels import Mapping, mapping, span

SUFFIXES = (".nii", ".nii.gz", ".hdr")
MAX_IN_MEMORY = 2**28  # bytes that a compressed file may have unpacked to be kept whole
MAX_VOLUME = 2**31  # bytes of one volume of a larger one
MAX_UNPACKED = 2**35
MAX_SLICES = 2**20
MAX_OFFSET = 2**28
TRAILING = 2**20  # bytes after the last voxel that some writers leave
PIECE = 2**20
GZIP_MAGIC = b"\x1f\x8b"
COLOR = {("R", "G", "B"): 3, ("R", "G", "B", "A"): 4}
MM_PER_UNIT = {"unknown": 1.0, "mm": 1.0, "meter": 1000.0, "micron": 0.001}
MODALITY_OF = {  # by the last part of a file's name, as BIDS 1.10 and common challenges have it
    "CT": {"ct"},
    "PT": {"pet"},
    "MR": {
        "t1w", "t2w", "pdw", "pdt2", "t1rho", "t1map", "t2map", "t2star", "t2starw", "t2starmap", "flair", "inplanet1",
        "inplanet2", "unit1", "mp2rage", "mese", "megre", "vfa", "bold", "sbref", "cbv", "dwi", "asl", "m0scan", "t1",
        "t1ce", "t1c", "t1n", "t2", "t2f",
    },
}  # fmt: skip

Volumes = Callable[[], Iterator[np.ndarray]]  # each call goes through the volumes [x, y, z(, channels)] anew


@dataclass(frozen=True)
class _Header:
    """What the reader needs of a NIfTI header, checked."""

    shape: tuple[int, int, int]
    num_volumes: int
    dtype: np.dtype  # with its byte order; channels as a subarray
    slope: float
    intercept: float
    affine: np.ndarray  # [4, 4], voxel indices to RAS millimetres
    oriented: bool
    offset: int
    paired: bool  # voxels in a file of their own
    window: tuple[float, float] | None

    @property
    def volume_bytes(self) -> int:
        x, y, z = self.shape
        return x * y * z * self.dtype.itemsize


def read(source: Source | Path | bytes, options: ReadOptions = ReadOptions()) -> Iterator[Image | Refusal]:  # noqa: B008
    """Gives the slices of each volume, as `options.pick` chooses them. Raises Unreadable with the reason.

    All slices of a file share a `series_uid`, also those of different times: they show one patient.
    """
    source = Source.of(source)
    facts, row = _facts(source.name), _subject(source.name)
    modality = facts.get("modality") or options.modality
    try:
        with np.errstate(all="ignore"):  # numbers of a damaged header
            header = _header(source)
        cut = slicing(header.shape, header.affine)
        _check_size(header, cut)
        volumes = _volumes(source, header)
        values = None if header.dtype.subdtype else _mapping(header, volumes, modality == "CT")
        series = {"series_uid": f"nifti:{fingerprint(source)}"}
    except Unreadable:
        raise
    except MemoryError:
        raise Unreadable("too large to decode in this machine's memory") from None
    except Exception as error:  # a damaged header may fail anywhere, with any exception
        raise Unreadable(f"damaged: its header cannot be understood ({type(error).__name__})") from error
    notes: tuple[str, ...] = (f"{cut.plane} slices, turned to radiological convention",)
    if not header.oriented:
        notes += ("the header states no orientation: axes taken as left, front, head and no place given",)
    for number, volume in enumerate(volumes()):
        for k in options.pick(cut.shape[0]):
            part, frame = _part(header, cut, number, k)
            raw = cut.cut(volume, k)
            try:
                pixels, more = (values.apply(raw), values.notes) if values else _color(raw)
            except Unreadable as refusal:
                yield Refusal(part, str(refusal))
                continue
            yield Image(
                pixels,
                values.bits if values else 8,
                cut.pixel_spacing_mm,
                header.window if values and values.how == "whole" else None,
                facts,
                series,
                notes + more,
                part,
                frame,
                cut.place(k) if header.oriented else None,
                row,
                stack=(float(number),) if header.num_volumes > 1 else (),
                signed=values.signed if values else None,
            )


def _part(header: _Header, cut: Slicing, volume: int, number: int) -> tuple[str, int | None]:
    """Name and number of a slice; parts are counted from 1, as people do, frames from 0."""
    slices = cut.shape[0]
    if slices * header.num_volumes == 1:
        return "", None
    name = f"slice {number + 1}"
    return (f"volume {volume + 1} {name}" if header.num_volumes > 1 else name), volume * slices + number


def _mapping(header: _Header, volumes: Volumes, hounsfield: bool) -> Mapping:
    found = span(volumes(), header.slope, header.intercept)
    return mapping(header.dtype, header.slope, header.intercept, found, hounsfield)


def _color(raw: np.ndarray) -> tuple[np.ndarray, tuple[str, ...]]:
    """Color slices [rows, columns, 3 or 4] without a transparency that hides nothing."""
    if raw.shape[-1] == 3:
        return np.ascontiguousarray(raw), ()
    # Most writers of RGBA32 leave the fourth channel empty.
    if raw[..., 3].min() != raw[..., 3].max():
        raise Unreadable("has transparent pixels, so that its colors depend on a background")
    return np.ascontiguousarray(raw[..., :3]), ("an alpha channel of one value was dropped",)


# --- the header -----------------------------------------------------------------------------------------------------


def _header(source: Source) -> _Header:
    """Raises Unreadable for everything that cannot be read as slices."""
    with _open(source) as file:
        start = file.read(540)
    if not start:
        raise Unreadable("the file is empty")
    magic = {size: start[at : at + 4] for size, at in ((348, 344), (540, 4))}
    if magic[348] in (b"n+1\0", b"ni1\0"):
        kind, paired = nibabel.Nifti1Header, magic[348] == b"ni1\0"
    elif magic[540] in (b"n+2\0", b"ni2\0"):
        kind, paired = nibabel.Nifti2Header, magic[540] == b"ni2\0"
    elif source.name.lower().endswith((".hdr", ".img")):
        raise Unreadable("an Analyze file or the pixels of a pair, without the header of NIfTI: sides are not known")
    else:
        raise Unreadable("not a NIfTI file: its mark is missing")
    # check=False: nibabel's checks log header values.
    header = kind.from_fileobj(io.BytesIO(start[: kind.sizeof_hdr]), check=False)
    x, y, z, num_volumes = _shape(header)
    scale = header.get_slope_inter()  # None where the header says that there is none
    slope, intercept = 1.0 if scale[0] is None else float(scale[0]), float(scale[1] or 0.0)
    dtype = _dtype(header)
    affine, oriented = _affine(header)
    low, high = float(header["cal_min"]), float(header["cal_max"])
    window = ((low + high) / 2, high - low) if np.isfinite((low, high)).all() and low < high else None
    offset = int(header.get_data_offset())
    if not np.isfinite((slope, intercept)).all() or not 0 <= offset <= MAX_OFFSET:
        raise Unreadable("damaged: its scale or data offset is no number that makes sense")
    if not paired and offset < (352 if kind is nibabel.Nifti1Header else 544):
        raise Unreadable("damaged: its voxels start inside the header")
    return _Header((x, y, z), num_volumes, dtype, slope, intercept, affine, oriented, offset, paired, window)


def _shape(header: Any) -> tuple[int, int, int, int]:
    """Columns, rows, slices, volumes; axes of length 1 may be missing or too many."""
    shape = [int(length) for length in header.get_data_shape()]
    if len(shape) < 2 or min(shape) < 1:
        raise Unreadable("damaged or no image: it needs two axes at least, each with one voxel or more")
    if any(length > 1 for length in shape[4:]):
        raise Unreadable(f"{len(shape)} axes: vectors, matrices and more are no images; three axes and time are read")
    x, y, z, t = (shape + [1, 1])[:4]
    return x, y, z, t


def _dtype(header: Any) -> np.dtype:
    dtype: np.dtype = header.get_data_dtype()
    if dtype.names:
        channels = COLOR.get(dtype.names)
        if channels:
            return np.dtype((np.uint8, (channels,)))
    elif dtype.kind in "iu" or (dtype.kind == "f" and dtype.itemsize <= 8):
        return dtype
    raise Unreadable("voxels of this type (complex, 128 bits, unknown) are not supported; integers, floats and RGB are")


def _affine(header: Any) -> tuple[np.ndarray, bool]:
    """Voxel indices to RAS millimetres, and whether the header says so or nibabel's custom."""
    unit = MM_PER_UNIT.get(header.get_xyzt_units()[0], 1.0)
    affine = np.array(header.get_best_affine(), dtype=np.float64)
    affine[:3] *= unit
    return affine, int(header["sform_code"]) > 0 or int(header["qform_code"]) > 0


def _check_size(header: _Header, cut: Slicing) -> None:
    slices, rows, columns = cut.shape
    if rows * columns > MAX_PIXELS:
        raise Unreadable(f"{rows} x {columns} pixels; at most {MAX_PIXELS} are read")
    if slices * header.num_volumes > MAX_SLICES:
        raise Unreadable(f"{slices * header.num_volumes} slices; at most {MAX_SLICES} are read")


# --- the voxels -----------------------------------------------------------------------------------------------------


def _volumes(source: Source, header: _Header) -> Volumes:
    """Opens the voxels. Raises Unreadable when there are fewer than the header says, or far more."""
    voxels = _pair(source) if header.paired else source
    total = header.volume_bytes * header.num_volumes
    if _is_packed(voxels):
        return _packed_volumes(voxels, header, total)
    size = len(voxels.data) if voxels.data is not None else _size(voxels)
    if size < header.offset + total:
        raise Unreadable("damaged: cut off inside its voxels")
    count = total // header.dtype.base.itemsize
    if voxels.data is not None:
        flat = np.frombuffer(voxels.data, header.dtype.base, count, header.offset)
    else:
        assert voxels.path is not None
        flat = np.memmap(voxels.path, header.dtype.base, "r", header.offset, (count,))
    return lambda: (_volume(part, header) for part in np.split(np.asarray(flat), header.num_volumes))


def _packed_volumes(source: Source, header: _Header, total: int) -> Volumes:
    if total > MAX_UNPACKED or (total > MAX_IN_MEMORY and header.volume_bytes > MAX_VOLUME):
        raise Unreadable(
            f"{total} bytes once unpacked; at most {MAX_UNPACKED}, and {MAX_VOLUME} in one volume, are read: "
            "unpack it to read it as .nii"
        )
    if total > MAX_IN_MEMORY:
        return lambda: _streamed(source, header)
    kept = list(_streamed(source, header))
    return lambda: iter(kept)


def _streamed(source: Source, header: _Header) -> Iterator[np.ndarray]:
    """Unpacks a volume at a time; the check sum is compared after the last one."""
    try:
        with _open(source) as file:
            for start in range(0, header.offset, PIECE):
                file.read(min(PIECE, header.offset - start))
            for _ in range(header.num_volumes):
                yield _volume(np.frombuffer(_exactly(file, header.volume_bytes), header.dtype.base), header)
            extra = 0
            while piece := file.read(PIECE):
                extra += len(piece)
                if extra > TRAILING:
                    raise Unreadable("damaged: holds more than its header says")
    except (OSError, EOFError, zlib.error):
        raise Unreadable("damaged: cut off or corrupt inside its voxels") from None


def _exactly(file: IO[bytes], count: int) -> bytearray:
    data = bytearray()
    while len(data) < count:
        piece = file.read(min(PIECE, count - len(data)))
        if not piece:
            raise Unreadable("damaged: cut off inside its voxels")
        data += piece
    return data


def _volume(flat: np.ndarray, header: _Header) -> np.ndarray:
    """[x, y, z(, channels)]; x runs fastest in the file, channels faster still."""
    if header.dtype.subdtype:
        channels = header.dtype.shape[0]
        return flat.reshape(channels, *header.shape, order="F").transpose(1, 2, 3, 0)
    return flat.reshape(header.shape, order="F")


def _is_packed(source: Source) -> bool:
    if source.data is not None:
        return source.data[:2] == GZIP_MAGIC
    assert source.path is not None
    try:
        with source.path.open("rb") as file:
            return file.read(2) == GZIP_MAGIC
    except OSError as error:
        raise Unreadable(f"cannot be read ({error.strerror})") from None


def _open(source: Source) -> IO[bytes]:
    """The file as it is once unpacked."""
    packed = _is_packed(source)
    if source.data is not None:
        plain: IO[bytes] = io.BytesIO(source.data)
    else:
        assert source.path is not None
        plain = source.path.open("rb")
    if not packed:
        return plain
    unpacked = gzip.GzipFile(fileobj=plain, mode="rb")
    unpacked.myfileobj = cast(io.FileIO, plain)  # closed with it, as those are that gzip opens by name
    return cast(IO[bytes], unpacked)


def _size(source: Source) -> int:
    assert source.path is not None
    return source.path.stat().st_size


def _pair(source: Source) -> Source:
    """The `.img` of a `.hdr`."""
    if source.path is None:
        raise Unreadable("a pair of .hdr and .img inside an archive cannot be read; unpack it first")
    stem = re.sub(r"\.(hdr|img)(\.gz)?$", "", source.path.name, flags=re.IGNORECASE)
    for suffix in (".img", ".img.gz", ".IMG"):
        path = source.path.with_name(stem + suffix)
        if path.is_file():
            return Source(path.name, path)
    raise Unreadable("half of a pair: its .img is missing")


# --- the name -------------------------------------------------------------------------------------------------------


def _facts(name: str) -> dict[str, Any]:
    """The modality, where the last part of the file's name says it."""
    stem = re.sub(r"\.(nii|hdr|img)?(\.gz)?$", "", PurePosixPath(name).name, flags=re.IGNORECASE)
    last = stem.rpartition("_")[2].lower()
    return next(({"modality": kind} for kind, words in MODALITY_OF.items() if last in words), {})


def _subject(name: str) -> dict[str, str]:
    """The subject that BIDS writes into file and folder names, as participants.tsv names it.

    Source: Brain Imaging Data Structure 1.10, "sub-<label>".
    """
    file, *folders = reversed(PurePosixPath(name).parts or ("",))
    found = re.match(r"(sub-[0-9A-Za-z]+)(?=[_.])", file)
    if found:
        return {"participant_id": found[1]}
    return next(({"participant_id": part} for part in folders if re.fullmatch(r"sub-[0-9A-Za-z]+", part)), {})
