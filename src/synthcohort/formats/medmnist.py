"""NumPy files: MedMNIST `.npz`, other archives of an images array with labels, and single `.npy` arrays.

Words: an *item* is one entry along an array's first axis; a *volume* is an item that is a stack of slices. Arrays are
streamed item by item, so that one item at a time is in memory; nothing is ever unpickled.
"""

import io
import math
import warnings
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy

from synthcohort.formats.fingerprint import fingerprint
from synthcohort.formats.image import MAX_PIXELS, Image, ReadOptions, Refusal, Source, Unreadable

WANTED = "an array called images, image, x or data, with labels or y where there are any; MedMNIST: train_images, …"
MOST_LABELS, MOST_ITEM_BYTES, MOST_ITEMS = 200, 2**31, 2**26
MOST_RATIO, RATIO_FROM_BYTES = 200, 50 * 2**20  # no image data shrinks so well: such a file is built to deceive
_SPLITS = {"train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}
_KINDS = {
    **dict.fromkeys(("images", "image", "imgs", "img", "x", "data"), "images"),
    **dict.fromkeys(("labels", "label", "y", "targets", "target"), "labels"),
}
_ORDER = ("", "train", "val", "test")
_BLOCK = 2**16
_MAGIC = b"\x93NUMPY"


@dataclass(frozen=True)
class _Array:
    """An array in a file: how it is opened, its type, and its shape without axes of length 1 that mean nothing."""

    name: str
    open: "Opener"
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    offset: int
    fortran: bool

    def verify(self) -> None:
        """Reads all once, so that an archive's checksum refuses a damaged array before its first image is given."""
        with self.open() as file:
            while file.read(_BLOCK):
                pass

    def items(self) -> Iterator[np.ndarray]:
        """Each entry along the first axis, one at a time."""
        shape = self.shape[1:]
        with self.open() as file:
            file.seek(self.offset)
            if self.fortran and len(self.shape) > 1:
                whole = np.frombuffer(_exactly(file, self.dtype.itemsize * math.prod(self.shape)), self.dtype)
                yield from whole.reshape(self.shape, order="F")
                return
            for _ in range(self.shape[0]):
                data = _exactly(file, self.dtype.itemsize * math.prod(shape))
                yield np.frombuffer(data, self.dtype).reshape(shape)


class Opener:
    """Opens one array's bytes, again and again: a file, a member of a zip archive, or bytes in memory."""

    def __init__(self, source: Source, archive: zipfile.ZipFile | None = None, member: str = ""):
        self._source, self._archive, self._member = source, archive, member

    def __call__(self) -> AbstractContextManager[IO[bytes]]:
        if self._archive is not None:
            return self._archive.open(self._member)
        if self._source.data is not None:
            return nullcontext(io.BytesIO(self._source.data))
        assert self._source.path is not None
        return open(self._source.path, "rb")


def read(source: Source | Path | bytes, options: ReadOptions = ReadOptions()) -> Iterator[Image | Refusal]:  # noqa: B008
    """The images of a `.npz` or `.npy` file; [N, D, H, W] are volumes, of which `options` picks the slices.

    `row` is {"label": …, "split": …} as far as the file says; several labels an image are label_0, label_1, and so on.
    Slices of one volume share a series. Raises Unreadable with the reason.
    """
    source = Source.of(source)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with _opened(source) as archive:
                yield from _images(source, archive, options)
    except Unreadable:
        raise
    except Exception as error:  # a damaged file may fail anywhere in zipfile or numpy, with any exception
        raise Unreadable("damaged or cut off: it cannot be read as NumPy arrays") from error


def _opened(source: Source) -> "AbstractContextManager[zipfile.ZipFile | None]":
    """The archive of a `.npz`; None for a single array."""
    with Opener(source)() as file:
        head = file.read(len(_MAGIC))
    if head == _MAGIC:
        return nullcontext(None)
    if not head.startswith(b"PK"):
        raise Unreadable("not a NumPy file, whatever its name says" if head else "the file is empty")
    return zipfile.ZipFile(io.BytesIO(source.data) if source.data is not None else source.path or "")


def _images(source: Source, archive: zipfile.ZipFile | None, options: ReadOptions) -> Iterator[Image | Refusal]:
    if archive is None:
        size = source.path.stat().st_size if source.path else len(source.data or b"")
        name = Path(source.name).stem
        array, meaning = _header("array", Opener(source), size), _meaning(name)
        if meaning and meaning[1] == "images" and len(array.shape) > 2:
            yield from _set(source, array, _rows(None, array.shape[0], meaning[0]), meaning[0], options, 0)
        else:
            yield from _single(source, array, options)
        return
    arrays = {}
    for entry in archive.infolist():
        if entry.filename.endswith(".npy"):
            if entry.file_size > RATIO_FROM_BYTES and entry.file_size > MOST_RATIO * entry.compress_size:
                raise Unreadable("grows out of proportion when unpacked, as a zip bomb does")
            name = entry.filename.removesuffix(".npy")
            arrays[name] = _header(name, Opener(source, archive, entry.filename), entry.file_size)
    found = _pairs(arrays)
    for array in [a for _, *pair in found for a in pair if a is not None] or arrays.values():
        array.verify()
    if not found and len(arrays) != 1:
        names = ", ".join(sorted(arrays)[:10]) or "none"
        raise Unreadable(f"which array holds images is unclear; arrays: {names}; wanted: {WANTED}")
    if not found or (len(found) == 1 and _is_single(found[0][1], found[0][2])):
        array, labels = (found[0][1], found[0][2]) if found else (next(iter(arrays.values())), None)
        yield from _single(source, array, options, labels)
        return
    position = 0
    for split, images, labels in found:
        rows = _rows(labels, images.shape[0] if images.shape else 0, split)
        yield from _set(source, images, rows, split, options, position)
        position += images.shape[0] * _layout(images.shape)[0]


def _meaning(name: str) -> tuple[str, str] | None:
    """Split and kind (images, labels) that an array's name says: train_images, images_train, x_test, image, …"""
    words = name.casefold().split("_")
    splits = [_SPLITS[word] for word in words if word in _SPLITS]
    kinds = [_KINDS[word] for word in words if word in _KINDS]
    if len(kinds) != 1 or len(splits) > 1 or len(words) != len(kinds) + len(splits):
        return None
    return (splits[0] if splits else ""), kinds[0]


def _pairs(arrays: Mapping[str, _Array]) -> list[tuple[str, _Array, _Array | None]]:
    """Images with their labels, by split."""
    by_split: dict[str, dict[str, _Array]] = {}
    for name, array in arrays.items():
        meaning = _meaning(name)
        if meaning:
            own = by_split.setdefault(meaning[0], {})
            if meaning[1] in own:
                raise Unreadable(
                    f"several arrays may be the {meaning[1]} ({own[meaning[1]].name}, {name}); wanted: one"
                )
            own[meaning[1]] = array
    return [
        (split, by_split[split]["images"], by_split[split].get("labels"))
        for split in _ORDER
        if "images" in by_split.get(split, {})
    ]


def _is_single(images: _Array, labels: _Array | None) -> bool:
    """Whether an array is one image or volume: by its dimensions, or by its name and no labels for its entries."""
    if len(images.shape) <= 2:
        return True
    if images.name.casefold() not in ("image", "img"):
        return False
    return labels is None or not _fit(labels, images.shape[0])


def _fit(labels: _Array, count: int) -> bool:
    """Whether an array holds a label, or a few, for each of `count` images."""
    return 1 <= len(labels.shape) <= 2 and labels.shape[0] == count and math.prod(labels.shape[1:]) <= MOST_LABELS


def _header(name: str, opener: Opener, size: int) -> _Array:
    """An array's type and shape. Raises Unreadable when they do not fit the bytes that are there."""
    with opener() as file:
        version = npy.read_magic(file)
        if version not in ((1, 0), (2, 0)):
            raise Unreadable(f"array {name} has version {version[0]}.{version[1]}; 1.0 and 2.0 are read")
        reader = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
        shape, fortran, dtype = reader(file)
        offset = file.tell()
    if dtype.hasobject or dtype.names is not None:
        raise Unreadable(f"array {name} holds Python objects, which are never read; wanted: numbers")
    if any(length < 0 for length in shape) or offset + math.prod(shape) * dtype.itemsize != size:
        raise Unreadable(f"array {name} is cut off, or its header is wrong")
    if shape and shape[0] > MOST_ITEMS:
        raise Unreadable(f"array {name} has {shape[0]} entries; at most {MOST_ITEMS} are read")
    most = shape if fortran else shape[1:]
    if math.prod(most) * dtype.itemsize > MOST_ITEM_BYTES:
        raise Unreadable(f"array {name} is too large to be read entry by entry (more than {MOST_ITEM_BYTES} bytes)")
    return _Array(name, opener, dtype, tuple(shape), offset, bool(fortran))


def _rows(labels: _Array | None, count: int, split: str) -> Iterator[dict[str, str]]:
    """What each image's labels and split say, as a table would."""
    given = {"split": split} if split else {}
    if labels is None:
        yield from (dict(given) for _ in range(count))
        return
    if not _fit(labels, count) or labels.dtype.kind not in "iufbU":
        raise Unreadable(f"array {labels.name} holds no labels for each of {count} images; wanted: [N] or [N, labels]")
    for item in labels.items():
        yield {**_named([_text(value) for value in item.ravel().tolist()]), **given}


def _named(values: Sequence[str]) -> dict[str, str]:
    return {"label": values[0]} if len(values) == 1 else {f"label_{i}": value for i, value in enumerate(values)}


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return str(int(value))
    if isinstance(value, float):
        return "" if math.isnan(value) else str(int(value)) if value.is_integer() else repr(value)
    return str(value).strip()


def _layout(shape: Sequence[int]) -> tuple[int, tuple[int, ...]]:
    """Slices of an item, and the item's shape as [slices, rows, columns] or [slices, rows, columns, 3].

    Raises Unreadable when an item is neither an image nor a volume.
    """
    own = tuple(shape[1:])
    if len(own) >= 3 and own[-1] == 1:
        own = own[:-1]
    elif len(own) >= 3 and own[0] == 1:
        own = own[1:]
    if len(own) == 2:
        return 1, (1, *own)
    if len(own) == 3 and own[-1] == 3:
        return 1, (1, *own)
    if len(own) == 3 and own[0] == 3 and min(own[1:]) > 4:
        return 1, (3, *own[1:])
    if (len(own) == 3 and own[-1] != 4) or (len(own) == 4 and own[-1] == 3):
        return own[0], own
    text = " x ".join(map(str, shape))
    raise Unreadable(f"an array of {text} is not understood; wanted: [N, H, W], [N, H, W, 3], [N, D, H, W]")


def _set(
    source: Source, array: _Array, rows: Iterator[dict[str, str]], split: str, options: ReadOptions, position: int
) -> Iterator[Image]:
    """The images of a whole data set; `position` is the number of its first one in the file."""
    depth, shape = _layout(array.shape)
    _check_size(shape)
    cast, notes = _cast(array)
    content = fingerprint(source) if depth > 1 else ""
    for number, (item, row) in enumerate(zip(array.items(), rows, strict=True)):
        name, first = f"{split or 'image'} {number}", position + number * depth
        slices = _slices(item, shape, depth)
        if depth == 1:
            yield _image(slices[0], cast, notes, name, first, row)
            continue
        series = {"series_uid": f"npz:{content}#{name}"}
        for i in options.pick(depth):
            yield _image(slices[i], cast, notes, f"{name} slice {i}", first + i, row, series)


def _single(source: Source, array: _Array, options: ReadOptions, labels: _Array | None = None) -> Iterator[Image]:
    """One image, or one volume, whose slices share a series."""
    if not 2 <= len(array.shape) <= 4:
        raise Unreadable(f"holds an array of {len(array.shape)} dimensions and no images; wanted: {WANTED}")
    whole = replace(array, shape=(1, *array.shape), fortran=False)
    depth, shape = _layout(whole.shape)
    _check_size(shape)
    cast, notes = _cast(array)
    pixels = np.stack(list(array.items())) if array.fortran else next(whole.items())
    slices, row = _slices(pixels, shape, depth), {}
    if labels is not None and math.prod(labels.shape) == 1 and labels.dtype.kind in "iufbU":
        row = {"label": _text(next(replace(labels, shape=(1,)).items()).item())}
    elif labels is not None:
        notes = (*notes, "an array of labels that are not one for each image was left out")
    if depth == 1:
        yield _image(slices[0], cast, notes, "", None, row)
        return
    series = {"series_uid": f"npz:{fingerprint(source)}"}
    for i in options.pick(depth):
        yield _image(slices[i], cast, notes, f"slice {i}", i, row, series)


def _check_size(shape: Sequence[int]) -> None:
    if 0 in shape:
        raise Unreadable("its images have no pixels")
    if math.prod(shape[1:3]) > MAX_PIXELS:
        raise Unreadable(f"{shape[1]} x {shape[2]} pixels; at most {MAX_PIXELS} are read")


def _slices(item: np.ndarray, shape: Sequence[int], depth: int) -> np.ndarray:
    """An item as its slices: [D, H, W] or [D, H, W, 3]."""
    if depth == 1 and len(shape) == 3 and shape[0] == 3:  # channels first
        return np.moveaxis(item.reshape(shape), 0, -1)[None]
    return item.reshape(shape)


def _cast(array: _Array) -> tuple[np.dtype[Any], tuple[str, ...]]:
    """The type in which a cohort holds every value unchanged, with a note where it is not the array's own.

    Raises Unreadable when there is none: fractions have no scale that all would agree on.
    """
    kind, own = array.dtype.kind, array.dtype.newbyteorder("=")
    if own in (np.uint8, np.uint16, np.int16):
        return own, ()
    if kind == "b":
        return np.dtype(np.uint8), ("true and false stored as 1 and 0",)
    if kind not in "iuf":
        raise Unreadable(f"array {array.name} holds no numbers")
    low, high = math.inf, -math.inf
    for item in array.items():
        if item.size:
            low, high = min(low, item.min().item()), max(high, item.max().item())
            if kind == "f" and not (math.isfinite(low + high) and np.array_equal(item, np.rint(item))):
                raise Unreadable("its pixels are fractions; store whole numbers as uint8, uint16 or int16")
    for target in (np.uint8, np.uint16, np.int16):
        if np.iinfo(target).min <= low and high <= np.iinfo(target).max:
            return np.dtype(target), (f"{own.name} stored as {np.dtype(target).name}, no value changed",)
    raise Unreadable("its values do not fit in 16 bits")


def _image(
    pixels: np.ndarray, cast: np.dtype[Any], notes: tuple[str, ...], part: str, frame: int | None,
    row: Mapping[str, str], identifiers: Mapping[str, str] = MappingProxyType({}),
) -> Image:  # fmt: skip
    if pixels.ndim == 3 and cast != np.uint8:
        raise Unreadable("color of more than 8 bits is not supported")
    kept = np.array(pixels, dtype=cast, order="C")
    return Image(kept, 8 * cast.itemsize, identifiers=dict(identifiers), notes=notes, part=part, frame=frame, row=row)


def _exactly(file: IO[bytes], length: int) -> bytes:
    blocks = []
    while length > 0:
        block = file.read(min(length, _BLOCK))
        if not block:
            raise Unreadable("cut off: it ends within an array")
        blocks.append(block)
        length -= len(block)
    return b"".join(blocks)
