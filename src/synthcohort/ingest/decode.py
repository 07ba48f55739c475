"""Decoding files to what a record needs, in this process or in several, always in the order of the list."""

import os
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

from synthcohort.core.files import digest_array
from synthcohort.formats import FORMATS, Unreadable
from synthcohort.imaging.geometry import Fit, placement
from synthcohort.imaging.intensity import value_range_of
from synthcohort.ingest.deidentify import Pseudonyms, clean_facts
from synthcohort.ingest.scan import SourceFile

POOL_BYTES = 300 * 2**20  # below this much to read, starting processes costs more than it gains
CHUNK, CHUNKS_AHEAD = 16, 3
MOST_WORKERS = 8


@dataclass(frozen=True)
class Task:
    """How to decode: where the files are, the size wanted, and the key that source digests are made with."""

    root: Path
    size: tuple[int, int] | None
    fit: Fit
    key: bytes


@dataclass(frozen=True)
class Decoded:
    """One image, standardized, and what is known of it. `identifiers` are raw and stay in memory."""

    name: str
    pixels: np.ndarray | None  # None once they were let go to save memory
    content_digest: str  # of the decoded pixels before resizing: finds exact copies
    source_digest: str
    bits_stored: int
    pixel_spacing_mm: tuple[float, float] | None
    window: tuple[float, float] | None
    facts: Mapping[str, Any]
    dropped_facts: tuple[str, ...]
    identifiers: Mapping[str, str]
    notes: tuple[str, ...]
    kind: tuple[str, int]  # dtype and channels
    nbytes: int

    def without_pixels(self) -> "Decoded":
        return replace(self, pixels=None)


@dataclass(frozen=True)
class Failed:
    """A refused file and the reason."""

    name: str
    reason: str


def decode(file: SourceFile, task: Task) -> Decoded | Failed:
    """Reads and standardizes one file."""
    kind, _, word = file.format.partition(":")
    if word:
        return Failed(file.name, f"{word} files are not supported yet")
    try:
        data = (task.root / file.name).read_bytes()
    except OSError as error:
        return Failed(file.name, f"cannot be read ({error.strerror})")
    try:
        image = FORMATS[kind](data)
    except Unreadable as refusal:
        return Failed(file.name, str(refusal))
    pixels, spacing = image.pixels, image.pixel_spacing_mm
    content = digest_array(pixels)
    if task.size:
        fill = value_range_of(pixels.dtype, image.bits_stored).low
        place = placement((pixels.shape[0], pixels.shape[1]), task.size, task.fit, fill)
        spacing = spacing and place.spacing(spacing)
        pixels = place.apply(pixels)
    facts, dropped = clean_facts(image.facts)
    return Decoded(
        name=file.name,
        pixels=pixels,
        content_digest=content,
        source_digest=Pseudonyms(task.key).source(data),
        bits_stored=image.bits_stored,
        pixel_spacing_mm=spacing,
        window=image.window,
        facts=facts,
        dropped_facts=tuple(dropped),
        identifiers=image.identifiers,
        notes=image.notes,
        kind=(pixels.dtype.name, 1 if pixels.ndim == 2 else pixels.shape[2]),
        nbytes=pixels.nbytes,
    )


def _decode_chunk(files: Sequence[SourceFile], task: Task) -> list[Decoded | Failed]:
    return [decode(file, task) for file in files]


def decode_all(
    files: Sequence[SourceFile], task: Task, workers: int = 0, warn: Callable[[str], None] = lambda text: None
) -> Iterator[Decoded | Failed]:
    """Decodes all files in order; `workers` 0 chooses by their size. A few chunks at most are held in memory."""
    workers = workers or choose_workers(sum(file.size for file in files))
    if workers == 1 or len(files) <= CHUNK:
        yield from (decode(file, task) for file in files)
        return
    chunks = [files[i : i + CHUNK] for i in range(0, len(files), CHUNK)]
    finished = 0
    try:
        # `spawn`, because a fork would copy threads of other libraries in an unknown state.
        with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
            ahead: deque[Future[list[Decoded | Failed]]] = deque()
            waiting = iter(chunks)
            for chunk in waiting:
                ahead.append(pool.submit(_decode_chunk, chunk, task))
                if len(ahead) > CHUNKS_AHEAD * workers:
                    break
            while ahead:
                results = ahead.popleft().result()
                for chunk in waiting:
                    ahead.append(pool.submit(_decode_chunk, chunk, task))
                    break
                finished += 1
                yield from results
    except BrokenProcessPool:
        warn("decoding goes on in one process: the others could not be started or were killed")
        for chunk in chunks[finished:]:
            yield from _decode_chunk(chunk, task)


def choose_workers(num_bytes: int) -> int:
    """Processes to decode so many bytes of files."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(cores, MOST_WORKERS) if num_bytes >= POOL_BYTES else 1
