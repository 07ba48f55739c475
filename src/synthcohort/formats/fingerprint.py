"""A name for a file's content, the same wherever the file lies: keeps the images of one file together in the split."""

import hashlib
import io
from typing import IO

from synthcohort.formats.image import Source, Unreadable

WHOLE_BYTES = 2**26  # files up to here are hashed whole
PIECE, PIECES = 2**20, 64


def fingerprint(source: Source) -> str:
    """SHA-256 of size and content; of a larger file 64 pieces of 1 MiB, evenly spread from its first to its last byte.

    Whole slides and series of volumes have many gigabytes, and reading them twice would double the time of an ingest.
    """
    try:
        if source.data is not None:
            return _digest(io.BytesIO(source.data), len(source.data))
        assert source.path is not None
        with source.path.open("rb") as file:
            return _digest(file, source.path.stat().st_size)
    except OSError as error:
        raise Unreadable(f"cannot be read ({error.strerror})") from None


def _digest(file: IO[bytes], size: int) -> str:
    state = hashlib.sha256(f"{size}\n".encode())
    if size <= WHOLE_BYTES:
        while piece := file.read(PIECE):
            state.update(piece)
    else:
        for i in range(PIECES):
            file.seek((size - PIECE) * i // (PIECES - 1))
            state.update(file.read(PIECE))
    return state.hexdigest()
