"""The reading pass: chunks of files over processes, resumable, and safe from files that crash or hang a decoder.

A decoder is foreign code: a damaged file may end its process or never return. So files are read in processes of their
own. Where one dies or hangs, the file it was at and those after it are tried alone; what fails there twice is refused,
and nothing else is lost. What a machine lacks is said of the machine, never of a file.
"""

import os
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any, TypeAlias

import pyarrow as pa
import pyarrow.parquet as pq

from synthcohort.core.cohort import shard_name
from synthcohort.core.errors import InputError, Problem
from synthcohort.core.files import atomic_path, remove, write_atomic
from synthcohort.core.progress import progress
from synthcohort.ingest.decode import Task
from synthcohort.ingest.decoder_process import LOOK_SECONDS, Chunk, Decoder, Ended, Order
from synthcohort.ingest.journal import SPAN, part_path, read_chunk
from synthcohort.ingest.scan import SourceFile

# Up to so many files are read without a process of their own when the number of processes is left open: for the tests
# of other things, which read made-up images by the hundred and spare themselves the half second.
IN_PROCESS_FILES = 0
POOL_BYTES, POOL_FILES = 64 * 2**20, 256  # below both, a second process costs more than it gains
CHUNK_BYTES, CHUNK_FILES = 32 * 2**20, 256
MOST_WORKERS = 8
MOST_FAILURES = 3  # of processes that end before their first file, in a row

Read: TypeAlias = pa.Table | int  # the part itself, or the number of its rows


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


def choose_workers(num_bytes: int, num_files: int = 0) -> int:
    """Processes to decode so many bytes in so many files: one at least."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(cores, MOST_WORKERS) if num_bytes >= POOL_BYTES or num_files > POOL_FILES else 1


def read_all(
    chunks: Sequence[Chunk], task: Task, folder: Path | None, workers: int, warn: Callable[[str], None]
) -> list[pa.Table]:
    """Reads every chunk that has no part yet. Returns the parts in order when `folder` is None, else nothing.

    `workers` is the number of processes, 0 for one that suits the work. Raises InputError when the machine cannot run
    even one.
    """
    kept: dict[int, pa.Table] = {}
    todo = [n for n in range(len(chunks)) if folder is None or not part_path(folder, n).exists()]
    total, ahead = sum(map(len, chunks)), sum(len(chunks[n]) for n in todo)
    with progress(total, "reading", unit="files", start=total - ahead) as advance:
        if workers == 0 and ahead <= IN_PROCESS_FILES and not _crashed(folder):
            results = _in_this_process(chunks, todo, task, folder, advance)
        else:
            workers = workers or choose_workers(sum(file.size for n in todo for _, file in chunks[n]), ahead)
            results = _Crew(chunks, task, folder, workers, warn, advance).read(todo)
        for number, result in results:
            if isinstance(result, pa.Table):
                kept[number] = result
    if folder is not None:
        remove(folder / "reading")
        remove(folder / "pieces")
    return [kept[n] for n in sorted(kept)]


def _in_this_process(
    chunks: Sequence[Chunk], todo: Sequence[int], task: Task, folder: Path | None, advance: Callable[..., None]
) -> Iterator[tuple[int, Read]]:
    """The mark tells the next run that this one died here, should a decoder take it down."""
    for number in todo:
        if folder is not None:
            write_atomic(folder / "reading", str(number))
        yield number, read_chunk(number, chunks[number], task, folder)
        advance(len(chunks[number]))


def _crashed(folder: Path | None) -> bool:
    """Whether an earlier run in one process ended inside a chunk; then processes of their own take over."""
    return folder is not None and (folder / "reading").exists()


@dataclass
class _Job:
    """A chunk being read: what is still to do for it, and who does it."""

    number: int
    steps: Generator[Order, Any, Read]
    order: Order
    decoder: Decoder


class _Crew:
    """The processes at work. Their number shrinks where the machine cannot carry so many."""

    def __init__(
        self, chunks: Sequence[Chunk], task: Task, folder: Path | None, workers: int,
        warn: Callable[[str], None], advance: Callable[..., None],
    ) -> None:  # fmt: skip
        self._chunks, self._task, self._folder = chunks, task, folder
        self._workers, self._warn, self._advance = workers, warn, advance
        self._jobs: list[_Job] = []
        self._idle: list[Decoder] = []
        self._shown: dict[int, int] = {}  # files of each chunk that the progress has counted
        self._failures = 0
        self._warned = False

    def read(self, todo: Sequence[int]) -> Iterator[tuple[int, Read]]:
        """Yields chunks' numbers and results as they are done."""
        waiting = list(reversed(todo))
        try:
            while waiting or self._jobs:
                while waiting and len(self._jobs) < self._workers:
                    self._begin(waiting.pop())
                wait([job.decoder.connection for job in self._jobs if job.decoder.connection], LOOK_SECONDS)
                for job in list(self._jobs):
                    outcome = job.decoder.outcome()
                    if outcome is None:
                        self._show(job.number, job.decoder.at if job.order.folder == self._folder else 0)
                    elif isinstance(outcome, Ended) and self._is_the_machines(outcome):
                        self._jobs.remove(job)
                        waiting.insert(0, job.number)  # last, when the machine may have more to give
                    elif (result := self._go_on(job, outcome)) is not None:
                        yield job.number, result
        finally:
            for decoder in [*self._idle, *(job.decoder for job in self._jobs)]:
                decoder.end()

    def _begin(self, number: int) -> None:
        steps = _steps(number, self._chunks[number], self._folder)
        job = _Job(number, steps, next(steps), self._idle.pop() if self._idle else Decoder(self._task))
        self._jobs.append(job)
        job.decoder.begin(job.order)

    def _go_on(self, job: _Job, outcome: Any) -> Read | None:
        """Takes the next step for a chunk; its result when that was the last."""
        self._failures = 0
        if isinstance(outcome, Ended) and not self._warned:
            self._warned = True
            self._warn("a file stopped its decoder: the files around it are read one by one")
        try:
            job.order = job.steps.send(outcome)
        except StopIteration as done:
            self._jobs.remove(job)
            self._idle.append(job.decoder)
            self._show(job.number, len(self._chunks[job.number]))
            result: Read = done.value
            return result
        job.decoder.begin(job.order)
        return None

    def _is_the_machines(self, ended: Ended) -> bool:
        """Whether no file is to blame: the process had none, or too many of them shared the memory.

        Raises InputError when even one process cannot be run.
        """
        if ended.at < 0:
            self._failures += 1
            if self._failures >= MOST_FAILURES:
                raise InputError(
                    Problem(
                        "processes that decode",
                        f"cannot be run on this machine ({ended.reason})",
                        remedy="free memory or processes, or set ingest.workers=1; the same command again goes on",
                    )
                )
        elif not ended.killed or len(self._jobs) == 1:
            return False
        if len(self._jobs) > 1:
            self._workers = len(self._jobs) - 1
            self._warn(f"the machine ended a process or could not start it ({ended.reason}): {self._workers} go on")
        return True

    def _show(self, number: int, done: int) -> None:
        new = min(done, len(self._chunks[number])) - self._shown.get(number, 0)
        if new > 0:
            self._shown[number] = self._shown.get(number, 0) + new
            self._advance(new)


def _steps(number: int, chunk: Chunk, folder: Path | None) -> Generator[Order, Any, Read]:
    """How a chunk is read: yields orders, is sent their outcomes, returns the result."""
    outcome = yield Order(number, chunk, folder)
    well: set[int] = set()
    refused: dict[int, str] = {}
    for again in range(2):
        if not isinstance(outcome, Ended):
            return outcome
        # The file it ended at and those after it; if that did not help, those before.
        first = outcome.at if again == 0 and outcome.at < len(chunk) else 0
        for index, (position, file) in enumerate(chunk[first:], first):
            if position in well or position in refused:
                continue
            for _ in range(1 if index == outcome.at else 2):
                alone = yield Order(number, [(position, file)], None, only_try=True)
                if not isinstance(alone, Ended):
                    well.add(position)
                    break
            else:
                refused[position] = alone.reason
        outcome = yield Order(number, chunk, folder, refused)
    if not isinstance(outcome, Ended):
        return outcome
    return (yield from _piecewise(number, chunk, folder, refused))


def _piecewise(
    number: int, chunk: Chunk, folder: Path | None, refused: dict[int, str]
) -> Generator[Order, Any, Read]:  # fmt: skip
    """Reads files that are well alone and not together: each by a new process, put together afterwards."""
    scratch = folder and folder / "pieces" / f"{number:06d}"
    pieces = []
    for piece, item in enumerate(chunk):
        outcome = yield Order(piece, [item], scratch, refused, fresh=True)
        if isinstance(outcome, Ended):
            raise InputError(
                Problem(
                    "processes that decode",
                    f"end again and again, though every file can be read ({outcome.reason.partition(': ')[2]})",
                    remedy="free memory and space on the disk; the same command again goes on",
                )
            )
        pieces.append(outcome)
    if folder is None or scratch is None:
        return pa.concat_tables(pieces)
    return _joined(number, len(pieces), scratch, folder)


def _joined(number: int, count: int, scratch: Path, folder: Path) -> int:
    """Makes one part of the chunk's pieces; their shards move over and get the chunk's numbers."""
    tables, next_shard = [], number * SPAN
    for piece in range(count):
        table = pq.read_table(part_path(scratch, piece))
        shards = table.column("shard").to_pylist()
        moved: dict[int | None, int | None] = {None: None}
        for shard in sorted({shard for shard in shards if shard is not None}):
            os.replace(scratch / "images" / shard_name(shard), folder / "images" / shard_name(next_shard))
            moved[shard] = next_shard
            next_shard += 1
        column = pa.array([moved[shard] for shard in shards], pa.int64())
        tables.append(table.set_column(table.column_names.index("shard"), "shard", column))
    whole = pa.concat_tables(tables)
    with atomic_path(part_path(folder, number)) as temporary:
        pq.write_table(whole, temporary)
    remove(scratch)
    return int(whole.num_rows)
