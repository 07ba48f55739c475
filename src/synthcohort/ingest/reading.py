"""The reading pass: chunks of files over processes, resumable, and safe from files that crash or hang a decoder.

A decoder is foreign code: a damaged file may end its process or never return. When that happens to a chunk, its files
are read one by one, each in a process of its own; the one that fails again is refused, and nothing else is lost.
"""

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from pathlib import Path

import pyarrow as pa

from synthcohort.core.files import remove, write_atomic
from synthcohort.core.progress import progress
from synthcohort.ingest.decode import Task
from synthcohort.ingest.journal import part_path, read_chunk
from synthcohort.ingest.scan import SourceFile

POOL_BYTES = 64 * 2**20  # below this much to read, starting processes costs more than it gains
CHUNK_BYTES, CHUNK_FILES, AHEAD = 32 * 2**20, 256, 3
MOST_WORKERS = 8
SECONDS_PER_FILE = 60.0  # a file that takes longer alone is refused
START_SECONDS = 300.0
LEAST_SECONDS = 120.0  # a chunk gets this, and a second for each MiB

Chunk = Sequence[tuple[int, SourceFile]]


def chunked(files: Chunk) -> Sequence[Chunk]:
    """Cuts the list so that a chunk is about CHUNK_BYTES; by sizes alone, so that every run cuts alike."""
    chunks: list[list[tuple[int, SourceFile]]] = []
    held = 0
    for item in files:
        if not chunks or held + item[1].size > CHUNK_BYTES or len(chunks[-1]) >= CHUNK_FILES:
            chunks.append([])
            held = 0
        chunks[-1].append(item)
        held += item[1].size
    return chunks


def read_all(
    chunks: Sequence[Chunk], task: Task, folder: Path | None, workers: int, warn: Callable[[str], None]
) -> list[pa.Table]:
    """Reads every chunk that has no part yet. Returns the parts in order when `folder` is None, else nothing."""
    kept: dict[int, pa.Table] = {}
    todo = [n for n in range(len(chunks)) if folder is None or not part_path(folder, n).exists()]
    total, done = sum(map(len, chunks)), sum(map(len, chunks)) - sum(len(chunks[n]) for n in todo)
    workers = workers or choose_workers(sum(file.size for n in todo for _, file in chunks[n]))
    with progress(total, "reading", unit="files", start=done) as advance:
        if workers == 1 and not _crashed(folder):
            results = _alone(chunks, todo, task, folder)
        else:
            results = _pooled(chunks, todo, task, folder, workers, warn)
        for number, result in results:
            advance(len(chunks[number]))
            if isinstance(result, pa.Table):
                kept[number] = result
    return [kept[n] for n in sorted(kept)]


def _alone(
    chunks: Sequence[Chunk], todo: Sequence[int], task: Task, folder: Path | None
) -> Iterator[tuple[int, pa.Table | int]]:
    """In this process. The mark tells the next run that this one died here, should a decoder take it down."""
    mark = folder / "reading" if folder else None
    for number in todo:
        if mark:
            write_atomic(mark, str(number))
        yield number, read_chunk(number, chunks[number], task, folder)
    if mark:
        remove(mark)


def _crashed(folder: Path | None) -> bool:
    """Whether an earlier run in one process ended inside a chunk; then processes of their own take over."""
    return folder is not None and (folder / "reading").exists()


def _pool(workers: int) -> ProcessPoolExecutor:
    # `spawn`, because a fork would copy threads of other libraries in an unknown state.
    return ProcessPoolExecutor(workers, mp_context=get_context("spawn"))


def _stop(pool: ProcessPoolExecutor) -> None:
    for process in list((pool._processes or {}).values()):
        process.kill()
    pool.shutdown(wait=True, cancel_futures=True)


def _pooled(
    chunks: Sequence[Chunk], todo: Sequence[int], task: Task, folder: Path | None, workers: int,
    warn: Callable[[str], None],
) -> Iterator[tuple[int, pa.Table | int]]:  # fmt: skip
    """Over several processes, a few chunks ahead; chunks whose process died or hung are read carefully afterwards."""
    waiting, suspects = list(reversed(todo)), []
    while waiting:
        pool = _pool(workers)
        ahead: dict[Future[pa.Table | int], int] = {}
        deadline: dict[int, float] = {}
        try:
            while waiting or ahead:
                while waiting and len(ahead) < AHEAD * workers:
                    number = waiting.pop()
                    ahead[pool.submit(read_chunk, number, chunks[number], task, folder)] = number
                    deadline[number] = time.monotonic() + AHEAD * _seconds(chunks[number])
                finished, _ = wait(ahead, timeout=5.0, return_when=FIRST_COMPLETED)
                for future in finished:
                    result = future.result()  # a broken pool raises here
                    yield ahead.pop(future), result
                if any(time.monotonic() > deadline[number] for number in ahead.values()):
                    raise BrokenProcessPool("a chunk takes too long")
            pool.shutdown()
        except BrokenProcessPool:
            _stop(pool)
            done = {n for n in ahead.values() if folder is not None and part_path(folder, n).exists()}
            for number in done:
                yield number, 0
            suspects += sorted(set(ahead.values()) - done)
            warn("a file stopped its decoder: the files around it are read one by one")
        except BaseException:
            _stop(pool)
            raise
    for number in suspects:
        yield number, _carefully(number, chunks[number], task, folder)


def _seconds(chunk: Chunk) -> float:
    return LEAST_SECONDS + sum(file.size for _, file in chunk) / 2**20


def _carefully(number: int, chunk: Chunk, task: Task, folder: Path | None) -> pa.Table | int:
    """Reads a chunk without trust: once whole in a process of its own, then without the files that stopped it."""
    with _Isolated() as isolated:
        result = isolated.read(number, chunk, task, folder, {})
        if not isinstance(result, str):
            return result
        alone = {position: isolated.read(number, [(position, file)], task, None, {}) for position, file in chunk}
        refused = {position: outcome for position, outcome in alone.items() if isinstance(outcome, str)}
        result = isolated.read(number, chunk, task, folder, refused)
        if isinstance(result, str):  # the rest are well one by one and not together: nothing is guessed
            result = read_chunk(number, chunk, task, folder, {position: result for position, _ in chunk} | refused)
    return result


class _Isolated:
    """A process that may die: it is replaced when it does."""

    def __init__(self) -> None:
        self._process: ProcessPoolExecutor | None = None

    def __enter__(self) -> "_Isolated":
        return self

    def __exit__(self, *_: object) -> None:
        self._end()

    def _end(self) -> None:
        if self._process is not None:
            _stop(self._process)
            self._process = None

    def read(
        self, number: int, chunk: Chunk, task: Task, folder: Path | None, refused: Mapping[int, str]
    ) -> pa.Table | int | str:
        """What `read_chunk` gives there, or the words for the process's end."""
        seconds = SECONDS_PER_FILE if len(chunk) == 1 else _seconds(chunk)
        try:
            if self._process is None:
                self._process = _pool(1)
                self._process.submit(len, ()).result(timeout=START_SECONDS)  # its start is no fault of a file
            return self._process.submit(read_chunk, number, chunk, task, folder, refused).result(timeout=seconds)
        except BrokenProcessPool:
            self._end()
            return "stops its decoder: damaged in a way that ends the process"
        except TimeoutError:
            self._end()
            return f"takes more than {seconds:.0f} s to decode"


def choose_workers(num_bytes: int) -> int:
    """Processes to decode so many bytes of files."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(cores, MOST_WORKERS) if num_bytes >= POOL_BYTES else 1
