"""Images from a DICOMweb server into a folder that ingest then reads like any other.

A file that bears an instance's name is whole, and the names are the journal: a fetch that was killed lists again what
the server has and loads what is not there yet. The folder holds what the hospital sent, patients' names included, and
is its owner's alone.
"""

import collections
import concurrent.futures
import hashlib
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from synthcohort.core.config import to_mapping
from synthcohort.core.errors import ArtifactError, InputError, Problem
from synthcohort.core.files import digest_json, lock, read_artifact, remove, write_artifact, write_atomic
from synthcohort.core.progress import progress
from synthcohort.formats import Unreadable
from synthcohort.ingest import inbox
from synthcohort.ingest.dicomweb_config import PREFIX, DicomwebConfig

if TYPE_CHECKING:
    from synthcohort.ingest.dicomweb_client import Client, Pieces
    from synthcohort.ingest.dicomweb_query import Series

GIVE_UP = 8  # images in a row that the server fails on, before it is asked whether it is there at all
_CHOICE = (
    "modality", "body_part", "study_description", "series_description", "since", "until", "limit",
)  # fmt: skip


@dataclass(frozen=True)
class FetchReport:
    """What a fetch did. `found` = `fetched` + `present` + failed images; no identifier of a patient in it.

    folder: the DICOM files, for ingest. present: loaded by an earlier call. failed: the name the file would have had,
    and why it is not there. left_out: what the server listed and was not asked for, by reason. unconfirmed: filters
    that the server's answers say nothing about, so that it alone vouches for them.
    """

    folder: Path
    studies: int
    found: int
    fetched: int
    present: int
    failed: tuple[tuple[str, str], ...] = ()
    left_out: Mapping[str, int] = field(default_factory=dict)
    unconfirmed: tuple[str, ...] = ()

    def summary(self) -> dict[str, Any]:
        """Counts for the command's result and for provenance."""
        reasons = collections.Counter(reason for _, reason in self.failed)
        return {
            "studies": self.studies, "found": self.found, "fetched": self.fetched, "present": self.present,
            "failed": len(self.failed), "failed_because": dict(sorted(reasons.items())),
            "left_out": dict(sorted(self.left_out.items())), "unconfirmed": list(self.unconfirmed),
        }  # fmt: skip


def fetch(url: str, into: Path, config: DicomwebConfig, dry_run: bool = False) -> FetchReport:
    """Fetches the images that fit `config` from the service at `url` into the folder `into`; the same call resumes.

    `url` may have `dicomweb:` before it. A finished fetch is not repeated: the server isn't even asked again, unless
    images failed. With `dry_run` the images are listed and counted, and nothing is written. Raises InputError when the
    address, the server or its answers are unusable or nothing could be fetched, ArtifactError when `into` is something
    else or holds another fetch.
    """
    try:
        from synthcohort.ingest.dicomweb_client import checked_url
    except ModuleNotFoundError as error:
        remedy = "pip install 'synthcohort[pacs]'"
        raise InputError(Problem("dicomweb", f"the package {error.name} is missing", remedy=remedy)) from None
    url, into = checked_url(url.removeprefix(PREFIX), config.insecure), Path(into)
    if dry_run:
        with _connected(url, config) as (client, parallel):
            return _found(client, into, config, parallel)[0]
    with lock(into), inbox.quiet():
        choice = _choice(url, config)
        state = _state(into, choice)
        if stored := _stored(into, state):
            return stored
        files = into / "files"
        into.mkdir(parents=True, exist_ok=True, mode=0o700)
        _write_state(into, choice, {"done": False})
        inbox.prepare(files)
        with _connected(url, config) as (client, parallel):
            report, series = _found(client, files, config, parallel)
            report, failed = _fetch(client, config, parallel, report, series)
        inbox.close(files)
        _write_failed(into, failed)
        summary = report.summary()
        if not report.fetched + report.present:
            reasons = "; ".join(f"{reason} ({n})" for reason, n in summary["failed_because"].items())
            raise InputError(Problem(f"dicomweb {url}", f"none of {report.found} images could be fetched: {reasons}"))
        _write_state(into, choice, {"done": True, **{name: summary[name] for name in _KEPT}})
        return report


def remove_download(into: Path) -> None:
    """Removes a folder that `fetch` made, and no other. Raises ArtifactError when it is something else."""
    if into.exists():
        read_artifact(into / "fetch.json", "fetch", 1)
        remove(into)


_KEPT = ("studies", "found", "failed", "left_out", "unconfirmed")


def _choice(url: str, config: DicomwebConfig) -> str:
    """A digest of what was asked for, so that a folder never mixes two fetches."""
    asked: dict[str, Any] = {name: value for name, value in to_mapping(config).items() if name in _CHOICE}
    if config.patients:
        from synthcohort.ingest.dicomweb_query import read_patients

        asked["patients"] = hashlib.sha256("\n".join(sorted(read_patients(config.patients))).encode()).hexdigest()
    return digest_json([url, asked])


def _state(into: Path, choice: str) -> dict[str, Any]:
    if not into.exists():
        return {}
    if not (into / "fetch.json").is_file():
        if into.is_dir() and not any(into.iterdir()):
            return {}
        raise ArtifactError(Problem(f"folder {into}", "is no download of ours", remedy="remove it, or choose another"))
    state = read_artifact(into / "fetch.json", "fetch", 1)
    if state.get("choice") != choice:
        if not any((into / "files").glob("??/*.dcm")):  # nothing was fetched yet: perhaps a filter had a slip
            return {}
        remedy = "remove it to fetch anew, or give the old address and settings"
        raise ArtifactError(Problem(f"folder {into}", "holds a fetch of other images", remedy=remedy))
    return state


def _write_state(into: Path, choice: str, state: Mapping[str, Any]) -> None:
    write_artifact(into / "fetch.json", "fetch", 1, {"choice": choice, **state})


def _stored(into: Path, state: Mapping[str, Any]) -> FetchReport | None:
    """The report of a fetch that is done and complete; None for one that is to go on."""
    if not state.get("done") or state["failed"]:
        return None
    found, files = int(state["found"]), into / "files"
    if sum(1 for _ in files.glob("??/*.dcm")) != found:
        return None
    return FetchReport(
        files, int(state["studies"]), found, 0, found, (), state["left_out"], tuple(state["unconfirmed"])
    )


def _write_failed(into: Path, failed: Sequence[tuple[str, str, str]]) -> None:
    """The list for the owner of the archive: with UIDs, by which an image can be looked up there."""
    if not failed:
        remove(into / "failed.csv")
        return
    lines = [
        "# For the owner of the archive: names images. It must not leave the house.",
        "sop_instance_uid,file,reason",
    ]
    lines += [f"{uid},{name},{reason.replace(',', ';')}" for uid, name, reason in failed]
    write_atomic(into / "failed.csv", "\n".join(lines) + "\n")


Parallel = Callable[[Callable[[Any], Any], Sequence[Any]], Iterator[Any]]


@contextmanager
def _connected(url: str, config: DicomwebConfig) -> Iterator[tuple["Client", Parallel]]:
    """A client, and a way to run work on its connections at once; both end when the block does, however it does."""
    from synthcohort.ingest.dicomweb_client import Client

    stop = threading.Event()
    with Client(url, config, stop) as client, concurrent.futures.ThreadPoolExecutor(config.connections) as threads:

        def parallel(work: Callable[[Any], Any], items: Sequence[Any]) -> Iterator[Any]:
            """Results in the order of the items, with few of them under way."""
            pending: collections.deque[concurrent.futures.Future[Any]] = collections.deque()
            for item in items:
                pending.append(threads.submit(work, item))
                if len(pending) >= 4 * config.connections:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()

        try:
            yield client, parallel
        finally:
            stop.set()
            threads.shutdown(wait=True, cancel_futures=True)


def _found(
    client: "Client", files: Path, config: DicomwebConfig, parallel: Parallel
) -> tuple[FetchReport, list["Series"]]:
    """The report before anything is fetched, and what to fetch."""
    from synthcohort.ingest.dicomweb_query import find

    listing = find(client, config, parallel)
    report = FetchReport(
        files, listing.studies, listing.images, 0, 0, (), dict(listing.left_out), tuple(sorted(listing.unconfirmed))
    )
    return report, listing.series


def _fetch(
    client: "Client", config: DicomwebConfig, parallel: Parallel, before: FetchReport, series: Sequence["Series"]
) -> tuple[FetchReport, list[tuple[str, str, str]]]:
    """Loads what is not there yet. Returns the report, and (UID, name, reason) of what could not be loaded."""
    from synthcohort.ingest.dicomweb_client import Unreachable

    fetched, in_a_row = 0, 0
    failed: list[tuple[str, str, str]] = []
    tasks = _tasks(series, before.folder, config)
    present = before.found - sum(len(uids) for _, uids in tasks)
    with progress(before.found, "fetching", start=present) as advance:
        for results in parallel(lambda task: _load(client, before.folder, config, *task), tasks):
            for uid, problem in results:
                if problem is None:
                    fetched, in_a_row = fetched + 1, 0
                else:
                    failed.append((uid, inbox.name_of(uid), str(problem)))
                    in_a_row = in_a_row + 1 if isinstance(problem, Unreachable) else 0
            advance(len(results), **({"failed": len(failed)} if failed else {}))
            if in_a_row >= GIVE_UP:
                # One damaged study is no dead server. Asking raises, with the reason, when the server is gone.
                client.query("/studies", [("limit", "1")])
                in_a_row = 0
    failed.sort(key=lambda item: item[1])
    listed = tuple((name, reason) for _, name, reason in failed)
    return replace(before, fetched=fetched, present=present, failed=listed), failed


Task = tuple["Series", tuple[str, ...]]


def _tasks(series: Sequence["Series"], files: Path, config: DicomwebConfig) -> list[Task]:
    """What is to be loaded: single instances, or whole series of which nothing is there."""
    tasks: list[Task] = []
    for item in series:
        missing = tuple(uid for uid in item.instances if not (files / inbox.name_of(uid)).is_file())
        whole = config.retrieve == "series" and not config.limit and missing == item.instances
        tasks.extend([(item, missing)] if whole else [(item, (uid,)) for uid in missing])
    return tasks


def _load(
    client: "Client", files: Path, config: DicomwebConfig, series: "Series", uids: Sequence[str]
) -> list[tuple[str, Exception | None]]:
    """Loads instances of a series; for each, None or why not. What a whole series lacks is asked for one by one."""
    from synthcohort.ingest.dicomweb_client import NotFetched

    largest = config.largest_mb * 2**20
    results: dict[str, Exception | None] = {}
    wanted = set(uids)

    def take(pieces: "Pieces") -> None:
        if uid := _save(pieces, files, largest, wanted):
            results[uid] = None

    if len(uids) > 1:
        with suppress(NotFetched):  # the single instances say which of them is at fault
            client.objects(series.path, largest * len(uids), take, once=True)
    for uid in uids:
        if uid not in results:
            wanted = {uid}
            try:
                client.objects(f"{series.path}/instances/{uid}", largest, take)
                results.setdefault(uid, NotFetched("the server sent another image than asked for, or none"))
            except NotFetched as error:
                results.setdefault(uid, error)
    return [(uid, results[uid]) for uid in uids]


def _save(pieces: "Pieces", files: Path, largest: int, wanted: Set[str]) -> str | None:
    """Writes one object to its place and returns its UID; None, and nothing is kept, when it was not asked for.

    Raises NotFetched when it is too large, or damaged.
    """
    from synthcohort.ingest.dicomweb_client import NotFetched

    size = 0
    with inbox.arriving(files) as (path, file):
        for piece in pieces:
            size += len(piece)
            if size > largest:
                raise NotFetched(f"larger than {largest / 2**20:.0f} MB")
            file.write(piece)
        file.close()
        try:
            uid = inbox.inspect(path).sop_instance_uid
        except Unreadable as error:
            raise NotFetched(str(error)) from None
        if uid not in wanted:
            return None
        with suppress(FileExistsError):
            inbox.keep(files, path, uid)
        return uid
