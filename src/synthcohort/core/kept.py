"""What took long to compute, kept in files: each is whole, or absent or damaged and made anew."""

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import DTypeLike

from synthcohort.core.errors import ArtifactError
from synthcohort.core.files import FULL, atomic_path, remove
from synthcohort.core.progress import progress

T = TypeVar("T")


def kept_folder(folder: Path, load: Callable[[Path], T], make: Callable[[Path], None]) -> T:
    """What `load` finds in a folder; `make` writes it first when it is absent, damaged or of another version."""
    try:
        return load(folder)
    except ArtifactError:
        remove(folder)
        make(folder)
        return load(folder)


def read_array(path: Path) -> np.ndarray | None:
    """The array of a file; None when it is absent or damaged."""
    try:
        return np.asarray(np.load(path, allow_pickle=False))
    except (OSError, ValueError):
        return None


def write_array(path: Path, values: np.ndarray) -> None:
    """Writes a whole file or nothing."""
    with atomic_path(path) as temporary, open(temporary, "wb") as file:
        np.save(file, values, allow_pickle=False)


def kept_array(path: Path, make: Callable[[], np.ndarray], good: Callable[[np.ndarray], bool]) -> np.ndarray:
    """The array of a file when it is there and `good`; else that of `make()`, kept from now on."""
    kept = read_array(path)
    if kept is not None and good(kept):
        return kept
    made = make()
    write_array(path, made)
    return made


def array_in_chunks(
    path: Path,
    count: int,
    chunk: int,
    make: Callable[[range], np.ndarray],
    description: str,
    row: tuple[int, ...] | None = None,
) -> np.ndarray:
    """An array [count, ...] made of `make(rows)`, `chunk` rows at a time, with progress; kept in the file.

    A killed pass goes on after its last chunk. `row`: the shape that each row must have, where it is known.
    """

    def fits(values: np.ndarray | None, rows: int) -> bool:
        return values is not None and len(values) == rows and row in (None, values.shape[1:])

    kept = read_array(path)
    if kept is not None and fits(kept, count):
        return kept
    folder, parts = path.with_suffix(".partial"), []
    with progress(count, description) as advance:
        for start in range(0, count, chunk):
            rows = range(start, min(start + chunk, count))
            part_path = folder / f"{start:09d}.npy"
            part = read_array(part_path)
            if part is None or not fits(part, len(rows)):
                part = make(rows)
                write_array(part_path, part)
            parts.append(part)
            advance(len(rows))
    result = np.concatenate(parts) if parts else np.zeros((0, *(row or (0,))), np.float32)
    write_array(path, result)
    remove(folder)
    return result


def new_array(file: Path, dtype: DTypeLike, shape: tuple[int, ...]) -> np.memmap:
    """A new .npy file, mapped for writing, whose space on the disk is taken at once.

    Without that the file has holes, and a disk that is full when one of them is filled kills the process (SIGBUS).
    Raises OSError with ENOSPC when there is not room for all of it.
    """
    array = np.lib.format.open_memmap(file, mode="w+", dtype=np.dtype(dtype), shape=shape)
    if hasattr(os, "posix_fallocate"):  # macOS has none
        with open(file, "r+b") as handle:
            try:
                os.posix_fallocate(handle.fileno(), 0, array.offset + array.nbytes)
            except OSError as error:
                if error.errno in (*FULL, errno.EFBIG):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(file)) from error
                # a file system that can't set space aside is written to as it is
    return array
