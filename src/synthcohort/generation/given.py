"""Images and masks that a user gives: read from any format, brought to the model's size, range and channels."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from synthcohort.core.errors import InputError, Problem
from synthcohort.formats import FORMATS, Image, ReadOptions, Refusal, Source, Unreadable, format_of
from synthcohort.imaging.geometry import Fit, placement
from synthcohort.imaging.intensity import from_unit, to_unit, value_range_of
from synthcohort.models.checkpoint import ImageSpec


def read_image(path: Path, spec: ImageSpec, fit: Fit = "pad") -> tuple[np.ndarray, tuple[int, int]]:
    """The image in the model's integers at the model's size, and the rows and columns it had in the file.

    Signed and unsigned stay what they are; unsigned ones of another depth are stretched from their range to the
    model's. Raises InputError for a file that holds no image, several, or one of another kind than the model's.
    """
    image = _read_one(path, "image")
    pixels = _channels(image.pixels, spec)
    want = np.dtype(spec.dtype)
    if pixels.dtype.kind != want.kind:
        words = {"u": "whole numbers without sign", "i": "signed numbers, such as Hounsfield units"}
        raise InputError(Problem("image", f"holds {words[pixels.dtype.kind]}", f"{words[want.kind]}, as in training"))
    own = spec.value_range if want.kind == "i" else value_range_of(pixels.dtype, image.bits_stored)
    pixels = from_unit(to_unit(pixels, own), spec.value_range, want)
    size = (pixels.shape[0], pixels.shape[1])
    return placement(size, spec.size, fit, fill=spec.low).apply(pixels), size


def read_mask(path: Path, spec: ImageSpec, size: tuple[int, int] | None, fit: Fit = "pad") -> np.ndarray:
    """Where the image may change: [rows, columns] of bool at the model's size; in the file, every pixel that is not 0.

    The file has the size of the image's file or of the model's images. Raises InputError for any other, and when no
    pixel is left.
    """
    pixels = _read_one(path, "mask").pixels
    found = (pixels if pixels.ndim == 2 else pixels.max(axis=2)) != 0
    allowed = [spec.size] if size is None or size == spec.size else [size, spec.size]
    if found.shape not in allowed:
        sizes = " or ".join(f"{rows} x {columns}" for rows, columns in allowed)
        raise InputError(Problem("mask", f"is {found.shape[0]} x {found.shape[1]} pixels", sizes))
    if found.shape != spec.size:
        painted = placement(found.shape, spec.size, fit).apply(found.astype(np.uint8) * 255)
        found = painted >= 128
    if not found.any():
        raise InputError(Problem("mask", "is empty: no pixel may change", "at least one pixel that is not 0"))
    return found


def _read_one(path: Path, what: str) -> Image:
    """The one image of a file. No part of the file's name or header stands in a message."""
    if not path.is_file():
        raise InputError(Problem(f"--{what} {path}", "no such file"))
    with open(path, "rb") as file:
        kind = format_of(path.name, file.read(132))
    if kind is None or kind not in FORMATS:
        found = "is no image" if kind is None else f"is a {kind.partition(':')[2]} file, which is not supported"
        raise InputError(Problem(what, found, "DICOM, NIfTI, PNG, JPEG, TIFF and the other formats of ingest"))
    try:
        images = [item for _, item in zip(range(2), _good(kind, path), strict=False)]
    except Unreadable as refusal:
        raise InputError(Problem(what, str(refusal))) from None
    if len(images) != 1:
        found = "holds no image" if not images else "holds several images"
        raise InputError(Problem(what, found, "one image", "save the one to edit as a file of its own"))
    return images[0]


def _good(kind: str, path: Path) -> Iterator[Image]:
    for item in FORMATS[kind](Source.of(path), ReadOptions()):
        if isinstance(item, Refusal):
            raise Unreadable(item.reason)
        yield item


def _channels(pixels: np.ndarray, spec: ImageSpec) -> np.ndarray:
    if pixels.ndim == 3 and spec.channels == 1:
        if np.ptp(pixels.astype(np.int32), axis=2).any():
            raise InputError(Problem("image", "is in color", "gray, as the images the model was trained on"))
        return np.ascontiguousarray(pixels[..., 0])
    if pixels.ndim == 2 and spec.channels == 3:
        return np.stack([pixels] * 3, axis=-1)
    return pixels
