"""A C-STORE receiver: what a PACS or a scanner sends becomes a folder of DICOM files, which ingest then reads.

Objects are written to disk as they arrive, exactly as they were encoded. A file that bears a name is whole; names are
digests of SOP Instance UIDs, so that an image sent twice is recognized, also after a restart. The folder holds what
the hospital sent, patients' names included, and is its owner's alone. No line of the log says what is in an image.
"""

import contextlib
import errno
import filecmp
import ipaddress
import shutil
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from synthcohort.core.errors import ConfigError, InputError, Problem
from synthcohort.core.files import FULL, lock
from synthcohort.core.progress import progress
from synthcohort.formats import Unreadable
from synthcohort.ingest import inbox

# Answers to C-STORE (DICOM PS3.4 table B.2-1).
SUCCESS, NO_SPACE, OTHER_CLASS, NOT_UNDERSTOOD = 0x0000, 0xA700, 0xA900, 0xC000
TICK_SECONDS = 0.2
GRACE_SECONDS = 10.0  # for images under way when the receiver is told to stop
END_SECONDS = 3.0
CHECK_BYTES = 64 * 2**20  # how often within an image the free space is looked at
MAX_PDU = 128 * 1024
# Retired storage classes that archives still hold (DICOM PS3.6 table A-1): US, US multi-frame, NM, and VL trials.
RETIRED = tuple("1.2.840.10008.5.1.4.1.1." + part for part in ("3", "5", "6", "12.3", "77.1", "77.2"))


@dataclass(frozen=True)
class ReceiveConfig:
    """How the receiver listens. Titles are no secret: off this machine, the network has to let few in."""

    port: int = 11112
    aet: str = "SYNTHCOHORT"
    bind: str = "127.0.0.1"
    allow: tuple[str, ...] = ()  # calling AE titles; empty takes any, on this machine alone
    idle_seconds: float = 0.0  # stop when nothing came for so long; 0 never does
    associations: int = 8  # at once
    largest_mb: int = 4096
    reserve_mb: int = 1024  # disk space left free

    def __post_init__(self) -> None:
        problems = []
        if not 0 <= self.port <= 65535:
            problems.append(Problem("--port", str(self.port), "1 to 65535"))
        for option, title in (("--aet", self.aet), *(("--allow", title) for title in self.allow)):
            if not (0 < len(title.strip()) <= 16 and title.isascii() and title.isprintable() and "\\" not in title):
                problems.append(Problem(option, repr(title), "an AE title: 1 to 16 letters, no backslash"))
        for option, value, least in (
            ("--idle-seconds", self.idle_seconds, 0), ("--associations", self.associations, 1),
        ):  # fmt: skip
            if not value >= least:
                problems.append(Problem(option, f"{value:g}", f"{least} or more"))
        try:
            address = ipaddress.ip_address(self.bind)
        except ValueError:
            problems.append(Problem("--bind", repr(self.bind), "an address of this machine, as in 127.0.0.1"))
        else:
            if not address.is_loopback and not self.allow:
                remedy = "name those that may send with --allow"
                problems.append(Problem(f"--bind {self.bind}", "any machine of the network could send", "", remedy))
        if problems:
            raise ConfigError(*problems)


@dataclass
class Counts:
    """What came, for the result and for progress; no identifier in it."""

    received: int = 0
    duplicates: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    rejected: Counter[str] = field(default_factory=Counter)  # associations that were not let in
    broken: int = 0  # associations that ended in the middle of an image

    def result(self, folder: Path) -> dict[str, Any]:
        return {
            "folder": folder.as_posix(), "received": self.received, "duplicates": self.duplicates,
            "refused": sum(self.refused.values()), "refused_because": dict(sorted(self.refused.items())),
            "rejected_associations": sum(self.rejected.values()), "broken_associations": self.broken,
        }  # fmt: skip


def receive(
    out: Path, config: ReceiveConfig, stop: threading.Event, ready: Callable[[int], None] = lambda port: None
) -> dict[str, Any]:
    """Listens until `stop` is set or nothing came for `idle_seconds`; returns {folder, received, duplicates, refused}.

    `ready` is called with the port once it is open. The folder may hold what an earlier call received. Raises
    InputError when the port cannot be opened or the folder not be written.
    """
    try:
        import pynetdicom  # noqa: F401
    except ModuleNotFoundError as error:
        remedy = "pip install 'synthcohort[pacs]'"
        raise InputError(Problem("receive", f"the package {error.name} is missing", remedy=remedy)) from None
    out = Path(out)
    with lock(out), inbox.quiet():
        inbox.prepare(out)
        desk = _Desk(out, config)
        with _streaming(desk), _listening(desk, config) as server:
            port = server.server_address[1]
            where = "this machine alone" if ipaddress.ip_address(config.bind).is_loopback else "the network"
            print(
                f"listening as {config.aet} on {config.bind} port {port}, open to {where}; Ctrl-C ends it",
                file=sys.stderr, flush=True,
            )  # fmt: skip
            ready(port)
            _wait(desk, config, stop)
        desk.sweep(everything=True)
        inbox.close(out)
    return desk.counts.result(out)


def _wait(desk: "_Desk", config: ReceiveConfig, stop: threading.Event) -> None:
    """Shows progress and clears up after broken connections until it is time to stop."""
    counts, seen, told = desk.counts, (0, 0, 0), set[str]()
    with progress(None, "receiving") as advance:
        done = False
        while not done:
            done = stop.wait(TICK_SECONDS)
            if config.idle_seconds and time.monotonic() - desk.last > config.idle_seconds and not done:
                print(f"nothing came for {config.idle_seconds:g} s", file=sys.stderr, flush=True)
                done = True
            desk.sweep()
            now = counts.received, counts.duplicates, sum(counts.refused.values())
            if now != seen:
                advance(now[0] - seen[0], duplicates=now[1], refused=now[2])
                seen = now
            for who in set(counts.rejected) - told:
                print(f"not let in: {who}", file=sys.stderr, flush=True)
                told.add(who)


class _Arriving:
    """A file under way, in the shape that pynetdicom wants of its temporary files.

    What goes wrong with it (no space, too large) must not end the connection in the middle: the rest is dropped, and
    the answer to the sender says why.
    """

    def __init__(self, desk: "_Desk"):
        self._desk = desk
        self._stack = contextlib.ExitStack()
        self._size, self._checked = 0, -CHECK_BYTES
        self.problem = ""
        self.owner = threading.current_thread()  # the thread that reads the connection
        self.path = desk.folder / inbox.ARRIVING / f"{id(self)}.none"
        self._file: BinaryIO | None = None
        try:
            self.path, self._file = self._stack.enter_context(inbox.arriving(desk.folder))
        except OSError as error:
            self._fail(error)
        self.name, self.file = str(self.path), self

    def write(self, data: bytes) -> int:
        self._size += len(data)
        if self._size - self._checked >= CHECK_BYTES:
            self._checked = self._size
            if shutil.disk_usage(self._desk.folder).free < self._desk.config.reserve_mb * 2**20:
                self.problem = self.problem or "no space left on the disk"
        if self._size > self._desk.config.largest_mb * 2**20:
            self.problem = self.problem or f"larger than {self._desk.config.largest_mb} MB"
        if self._file is not None and not self.problem:
            try:
                self._file.write(data)
            except OSError as error:
                self._fail(error)
        self._desk.last = time.monotonic()
        return len(data)

    def flush(self) -> None:
        """Nothing: a file is whole on the disk before it gets its name."""

    def close(self) -> None:
        """Ends writing; what has no name by now is removed by `drop`."""
        if self._file is not None:
            try:
                self._file.close()
            except OSError as error:
                self._fail(error)
            self._file = None

    def drop(self) -> None:
        self.close()
        with contextlib.suppress(OSError):
            self._stack.close()

    def _fail(self, error: OSError) -> None:
        full = error.errno in (*FULL, errno.EFBIG)
        self.problem = self.problem or ("no space left on the disk" if full else "cannot be written")


class _Desk:
    """Takes in what arrives: one for each receiver, used by the threads of all connections."""

    def __init__(self, folder: Path, config: ReceiveConfig):
        self.folder, self.config, self.counts = folder, config, Counts()
        self.last = time.monotonic()
        self._arriving: dict[Path, _Arriving] = {}
        self._guard = threading.Lock()

    def open(self, *_: Any, **__: Any) -> _Arriving:
        """Stands in for pynetdicom's NamedTemporaryFile."""
        file = _Arriving(self)
        with self._guard:
            self._arriving[file.path] = file
        return file

    @property
    def under_way(self) -> int:
        return len(self._arriving)

    def sweep(self, everything: bool = False) -> None:
        """Drops files whose connection broke in the middle."""
        with self._guard:
            dead = [file for file in self._arriving.values() if everything or not _is_alive(file.owner)]
            for file in dead:
                del self._arriving[file.path]
                self.counts.broken += 1
        for file in dead:
            file.drop()

    def rejected(self, event: Any) -> None:
        title = "".join(x if x.isascii() and x.isprintable() else "?" for x in event.assoc.requestor.ae_title)
        with self._guard:
            self.counts.rejected[f"{title.strip()[:16]} to {event.assoc.acceptor.ae_title.strip()[:16]!a}"] += 1

    def store(self, event: Any) -> Any:
        """Answers a C-STORE request; its data is complete in a file by now."""
        file = self._arriving.get(event.dataset_path) if event.dataset_path else None
        try:
            status, reason = self._store(event, file)
        except Exception as error:  # whatever is wrong with one image, the sender gets an answer and may go on
            full = isinstance(error, OSError) and error.errno in FULL
            status, reason = (NO_SPACE, "no space left on the disk") if full else (NOT_UNDERSTOOD, type(error).__name__)
        finally:
            if file is not None:
                file.drop()
        with self._guard:
            self._arriving.pop(event.dataset_path, None)
            self.last = time.monotonic()
            if status != SUCCESS:
                self.counts.refused[reason] += 1
            elif reason:
                self.counts.duplicates += 1
            else:
                self.counts.received += 1
        return _answer(status, reason if status != SUCCESS else "")

    def _store(self, event: Any, file: _Arriving | None) -> tuple[int, str]:
        """The status, and why: a reason for a refusal, `again` for an image that is here already, else nothing."""
        if file is None:
            return NOT_UNDERSTOOD, "a request without data"
        file.close()
        if file.problem:
            return NO_SPACE, file.problem
        try:
            found = inbox.inspect(file.path)
        except Unreadable as error:
            return NOT_UNDERSTOOD, str(error)
        if found.sop_class_uid != str(event.request.AffectedSOPClassUID):
            return OTHER_CLASS, "its SOP Class is not the announced one"
        if found.sop_instance_uid != str(event.request.AffectedSOPInstanceUID):
            return NOT_UNDERSTOOD, "its SOP Instance UID is not the announced one"
        with self._guard:
            try:
                inbox.keep(self.folder, file.path, found.sop_instance_uid)
                return SUCCESS, ""
            except FileExistsError:
                pass
        kept = self.folder / inbox.name_of(found.sop_instance_uid)
        same = filecmp.cmp(file.path, kept, shallow=False)
        if same or inbox.inspect(kept).transfer_syntax_uid != found.transfer_syntax_uid:
            return SUCCESS, "again"
        return NOT_UNDERSTOOD, "another image with this SOP Instance UID is here already"


def _is_alive(reader: threading.Thread) -> bool:
    """Whether a connection's reader, or the association it reads for, still runs."""
    association = getattr(reader, "assoc", None)
    return reader.is_alive() or (association is not None and association.is_alive())


def _answer(status: int, comment: str) -> Any:
    if not comment:
        return status
    from pydicom.dataset import Dataset

    answer = Dataset()
    answer.Status, answer.ErrorComment = status, comment[:64]
    return answer


@contextlib.contextmanager
def _streaming(desk: _Desk) -> Iterator[None]:
    """Lets pynetdicom write what it receives into our folder, silently, for as long as one receiver runs.

    Its own way goes through the machine's folder for temporary files, which others may read and which may be another
    disk, and breaks the connection when that is full. There is no setting for the place, so the name is exchanged.
    """
    from pynetdicom import _config, dimse_messages

    before = (
        _config.STORE_RECV_CHUNKED_DATASET, _config.LOG_HANDLER_LEVEL, dimse_messages.NamedTemporaryFile,
        threading.excepthook,
    )  # fmt: skip

    def hook(failed: threading.ExceptHookArgs) -> None:
        """A thread of a connection died of a request it cannot bear; its words may hold values of the request."""
        if failed.exc_type is not SystemExit:
            print(f"a connection broke ({failed.exc_type.__name__})", file=sys.stderr, flush=True)
        connection = getattr(failed.thread, "socket", None)
        if connection is not None:  # the sender learns at once, and not when its patience ends
            connection.close()

    _config.STORE_RECV_CHUNKED_DATASET, _config.LOG_HANDLER_LEVEL = True, "none"
    dimse_messages.NamedTemporaryFile = desk.open  # type: ignore[assignment]
    threading.excepthook = hook
    try:
        yield
    finally:
        _config.STORE_RECV_CHUNKED_DATASET, _config.LOG_HANDLER_LEVEL = before[:2]
        dimse_messages.NamedTemporaryFile, threading.excepthook = before[2:]


@contextlib.contextmanager
def _listening(desk: _Desk, config: ReceiveConfig) -> Iterator[Any]:
    """The open port. At the end, images under way get some time to arrive."""
    from pynetdicom import AE, evt

    entity = AE(ae_title=config.aet)
    entity.require_called_aet = True
    entity.require_calling_aet = list(config.allow)
    entity.maximum_associations = config.associations
    entity.maximum_pdu_size = MAX_PDU
    entity.acse_timeout, entity.network_timeout = 10, 60
    for abstract, syntaxes in contexts():
        entity.add_supported_context(abstract, list(syntaxes))
    handlers: Any = [
        (evt.EVT_C_STORE, desk.store),
        (evt.EVT_REJECTED, desk.rejected),
        (evt.EVT_C_ECHO, lambda _: SUCCESS),
    ]
    try:
        server: Any = entity.start_server((config.bind, config.port), block=False, evt_handlers=handlers)
    except OSError as error:
        raise InputError(
            Problem(
                f"port {config.port} of {config.bind}",
                f"cannot be opened ({error.strerror})",
                remedy="choose another with --port or --bind",
            )
        ) from None
    try:
        yield server
    finally:
        server.shutdown()
        until = time.monotonic() + GRACE_SECONDS
        while desk.under_way and time.monotonic() < until:
            time.sleep(0.05)
            desk.sweep()
        _end(entity.active_associations)


def _end(associations: list[Any]) -> None:
    """Ends connections that are still open. Some hang on a peer that is gone: their threads end with the process."""
    threads = [threading.Thread(target=association.abort, daemon=True) for association in associations]
    for thread in threads:
        thread.start()
    until = time.monotonic() + END_SECONDS
    for thread in (*threads, *associations):
        thread.join(max(0.0, until - time.monotonic()))


def contexts() -> Iterator[tuple[str, tuple[str, ...]]]:
    """What the receiver takes: C-ECHO, and every storage class in every transfer syntax that can be decoded here."""
    from pydicom.pixels import get_decoder
    from pydicom.uid import AllTransferSyntaxes
    from pynetdicom import AllStoragePresentationContexts
    from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]

    readable = [str(syntax) for syntax in AllTransferSyntaxes if not syntax.is_compressed]
    yield str(Verification), tuple(readable)
    for syntax in AllTransferSyntaxes:
        with contextlib.suppress(NotImplementedError):
            if syntax.is_compressed and get_decoder(syntax).is_available:
                readable.append(str(syntax))
    classes = {str(context.abstract_syntax): None for context in AllStoragePresentationContexts}
    for uid in (*classes, *(uid for uid in RETIRED if uid not in classes)):
        yield uid, tuple(readable)
