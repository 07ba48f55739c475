"""A process that decodes and may die or hang: the caller's side of it, and its own.

It is a fresh interpreter and not one of `multiprocessing`, which would run the caller's main script once more. Shared
memory says at which file it is, so that a death names its file; its CPU time tells slow work from none. It ends with
its caller, however that ends.
"""

import ctypes
import json
import logging
import mmap
import os
import pickle
import signal
import struct
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, Pipe
from pathlib import Path
from typing import Any, overload

from synthcohort.ingest.decode import Task
from synthcohort.ingest.journal import read_chunk
from synthcohort.ingest.scan import SourceFile

Chunk = Sequence[tuple[int, SourceFile]]

# How long a file may take, in seconds of its process's CPU: a busy machine takes nothing from it. Text is looked for
# in every frame, at up to 0.5 s for one that JPEG packs into 10 KiB.
FILE_SECONDS, SECONDS_PER_MIB, TEXT_SECONDS_PER_MIB = 300.0, 10.0, 100.0
IDLE_SECONDS, IDLE_SHARE = 180.0, 0.01  # less than this share of a core for so long is standing still
CRAWL = 10  # and this many times its CPU seconds on the clock is too long for any file
LOOK_SECONDS = 1.0
NOT_STARTED, AT_REST = -2, -1  # in place of a file's index

# Each process has a core of its own: threads of numerical libraries would only take turns on it.
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
_START = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); "
    "from synthcohort.ingest.decoder_process import serve; serve(*map(int, sys.argv[2:]))"
)


@dataclass(frozen=True)
class Order:
    """Files for `read_chunk`. `only_try`: only to see whether they can be read; `fresh`: by a new process."""

    number: int
    files: Chunk
    folder: Path | None
    refused: Mapping[int, str] = field(default_factory=dict)
    only_try: bool = False
    fresh: bool = False


@dataclass(frozen=True)
class Ended:
    """The process is gone: at which file of its order (negative: at none), why, and whether the system killed it."""

    at: int
    reason: str
    killed: bool = False


class Decoder:
    """The caller's side. Starts its process when an order needs one; never raises for what happens to that."""

    def __init__(self, task: Task) -> None:
        self._task = task
        self._process: subprocess.Popen[bytes] | None = None
        self._failed: Ended | None = None
        self.connection: Connection[Any, Any] | None = None

    @property
    def at(self) -> int:
        """The index of the file it is reading."""
        return int(struct.unpack_from("q", self._memory)[0]) if self._process else NOT_STARTED

    def begin(self, order: Order) -> None:
        """Hands an order over; `outcome` tells of it."""
        self._order, self._failed = order, None
        try:
            if order.fresh:
                self.end()
            if self._process is None:
                self._start()
            else:  # it is idle, so nobody else writes
                struct.pack_into("q", self._memory, 0, AT_REST)
            assert self.connection is not None
            self.connection.send((self._task, order))
        except OSError as error:
            if self._process is not None:  # it died before it took the order
                self._failed = self._ended()
            else:
                self.end()
                self._failed = Ended(NOT_STARTED, error.strerror or type(error).__name__)
        self._looked, self._seen = time.monotonic(), NOT_STARTED - 1

    def _start(self) -> None:
        shared = _shared_memory()
        self.connection, theirs = Pipe()
        # Ctrl-C reaches every process of a terminal; this one is ended by its caller, so it is started deaf to it.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            self._memory = mmap.mmap(shared, 8)
            arguments = [json.dumps(sys.path), str(theirs.fileno()), str(shared), str(os.getpid())]
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-c", _START, *arguments],
                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, pass_fds=(theirs.fileno(), shared),
                env=os.environ | dict.fromkeys(_THREADS, "1"),
            )  # fmt: skip
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
            theirs.close()
            os.close(shared)

    def outcome(self) -> Any:
        """What `read_chunk` gave there, `Ended`, or None while it works. Raises what was raised there."""
        if self._failed:
            return self._failed
        assert self.connection is not None
        if self.connection.poll():
            try:
                answer = self.connection.recv()
            except (EOFError, OSError):
                return self._ended()
            if isinstance(answer, BaseException):
                raise answer
            return answer
        reason = self._hangs()
        if not reason:
            return None
        at = self.at
        self.end()
        return Ended(at, reason)

    def _ended(self) -> Ended:
        assert self._process is not None
        at = self.at
        try:
            code = self._process.wait(5.0)
        except subprocess.TimeoutExpired:
            code = 0
        self.end()
        if at < 0:
            return Ended(at, f"a process ended with code {code} before its first file")
        if code == -signal.SIGKILL:
            return Ended(at, "stops its decoder: the system ended the process, most likely for lack of memory", True)
        return Ended(at, "stops its decoder: damaged in a way that ends the process")

    def _hangs(self) -> str:
        """Why the process is given up, or nothing."""
        now = time.monotonic()
        if now - self._looked < LOOK_SECONDS:
            return ""
        passed, self._looked = min(now - self._looked, 5 * LOOK_SECONDS), now  # a stopped machine is no hang
        at, cpu = self.at, self._cpu_seconds()
        if at != self._seen:
            self._seen, self._cpu_before, self._last_cpu, self._clock, self._idle = at, cpu, cpu, 0.0, 0.0
        self._clock += passed
        if cpu is None or self._last_cpu is None or cpu - self._last_cpu >= IDLE_SHARE * passed:
            self._idle = 0.0
        else:
            self._idle += passed
        self._last_cpu = cpu
        used = self._clock / CRAWL if cpu is None or self._cpu_before is None else cpu - self._cpu_before
        limit = self._limit(at)
        if max(used, self._clock / CRAWL) > limit:
            return f"takes more than {limit:.0f} s to decode"
        return f"stops its decoder: it stands still for {IDLE_SECONDS:.0f} s" if self._idle > IDLE_SECONDS else ""

    def _limit(self, at: int) -> float:
        files = self._order.files
        size = files[at][1].size if 0 <= at < len(files) else sum(file.size for _, file in files)
        by_size = SECONDS_PER_MIB if self._task.text is None else TEXT_SECONDS_PER_MIB
        return FILE_SECONDS + size / 2**20 * by_size

    def _cpu_seconds(self) -> float | None:
        """What the process has used; None where the system does not say."""
        assert self._process is not None
        try:
            fields = Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()
            return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")  # utime, stime: proc(5)
        except (OSError, ValueError, IndexError):
            return None

    def end(self) -> None:
        """Ends the process at once, whatever it is doing."""
        if self.connection is not None:
            self.connection.close()
            self.connection = None
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None
            self._memory.close()


def _shared_memory() -> int:
    """Eight bytes that two processes see, by descriptor."""
    if hasattr(os, "memfd_create"):
        shared = os.memfd_create("at")
    else:
        with tempfile.TemporaryFile() as file:
            shared = os.dup(file.fileno())
    os.write(shared, struct.pack("q", NOT_STARTED))
    return shared


def serve(connection: int, shared: int, caller: int) -> None:
    """The process itself: reads what it is told to until its caller is gone."""
    _end_with(caller)
    logging.disable()  # decoders' logs quote headers
    memory = mmap.mmap(shared, 8)
    mark = _marker(memory, caller)
    with Connection(connection) as orders:
        mark(AT_REST)
        while True:
            try:
                task, order = orders.recv()
            except (EOFError, OSError):
                return
            try:
                files = _Watched(order.files, mark)
                answer: Any = read_chunk(order.number, files, task, order.folder, order.refused)
            except Exception as error:
                answer = _portable(error)
            try:
                orders.send(True if order.only_try and not isinstance(answer, Exception) else answer)
            except OSError:
                return


def _end_with(caller: int) -> None:
    """Has the kernel end this process with its caller (prctl PR_SET_PDEATHSIG), where it can."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)
    if os.getppid() != caller:
        os._exit(1)


def _marker(memory: mmap.mmap, caller: int) -> Callable[[int], None]:
    def mark(at: int) -> None:
        struct.pack_into("q", memory, 0, at)
        if os.getppid() != caller:
            os._exit(1)

    return mark


class _Watched(Sequence[tuple[int, SourceFile]]):
    """A chunk that says how far it was gone through."""

    def __init__(self, files: Chunk, mark: Callable[[int], None]) -> None:
        self._files, self._mark = files, mark

    def __len__(self) -> int:
        return len(self._files)

    @overload
    def __getitem__(self, index: int) -> tuple[int, SourceFile]: ...
    @overload
    def __getitem__(self, index: slice) -> Chunk: ...
    def __getitem__(self, index: int | slice) -> tuple[int, SourceFile] | Chunk:
        return self._files[index]

    def __iter__(self) -> Iterator[tuple[int, SourceFile]]:
        for index, item in enumerate(self._files):
            self._mark(index)
            yield item
        self._mark(len(self._files))


def _portable(error: Exception) -> Exception:
    """The error as it can travel, with where it arose."""
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        error = RuntimeError(f"{type(error).__name__} while decoding")
    else:
        error.add_note("".join(traceback.format_tb(error.__traceback__)))
    return error
