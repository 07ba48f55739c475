"""Memory and disks that run out: found before they do harm where possible, and said in words."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from numpy.typing import DTypeLike

from synthcohort.core.errors import Problem, TrainingError

FULL = (errno.ENOSPC, errno.EDQUOT)


@contextmanager
def explained(out: Path, remedy: str) -> Iterator[None]:
    """Raises TrainingError where memory runs out, with this remedy, or the disk that `out` lies on."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if isinstance(error, (MemoryError, torch.cuda.OutOfMemoryError)) or "alloc" in str(error).lower():
            raise TrainingError(Problem("memory", "ran out while training", remedy=remedy)) from error
        raise
    except OSError as error:
        if error.errno in FULL:
            remedy = "make room, then run the same command again: it goes on from its last checkpoint"
            raise TrainingError(Problem(f"disk of {out}", "no space left while writing the run", "", remedy)) from error
        raise


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
