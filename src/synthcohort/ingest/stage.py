"""The stage itself: scan, join the table, read, group, split, write.

Everything is read once. The reading pass stores pixels and a journal chunk by chunk; decisions that need all images
(labels, groups, roles, volumes) are made from the journal, and the records are written last. What only some calls or
only the last steps need is loaded where it is used: the processes that decode begin the sooner.
"""

import os
import sys
from pathlib import Path
from typing import Any

from synthcohort.core.cohort import Cohort, partial_path
from synthcohort.core.cohort_writer import finish_publishing, open_partial
from synthcohort.core.errors import ArtifactError, Problem, SynthCohortError
from synthcohort.core.files import digest_each, digest_json, lock, remove
from synthcohort.formats.image import ReadOptions
from synthcohort.ingest.caption import Captioner
from synthcohort.ingest.config import IngestConfig
from synthcohort.ingest.decode import Task
from synthcohort.ingest.deidentify import Pseudonyms, new_key, read_key, seed_key, write_key
from synthcohort.ingest.dicomweb_config import is_dicomweb
from synthcohort.ingest.journal import SCHEMA, read_parts
from synthcohort.ingest.plan import Job, decide, result_again, result_of
from synthcohort.ingest.reading import chunked, read_all
from synthcohort.ingest.scan import Listing, scan
from synthcohort.ingest.source_table import SourceTable, find_table
from synthcohort.ingest.survey import Refused


def ingest(source: str | Path, out: Path, config: IngestConfig, seed: int, dry_run: bool = False) -> dict[str, Any]:
    """Makes the cohort `out` from a folder, a file, a zip archive or `dicomweb:URL`; the same call again resumes.

    Returns {cohort, found, taken, refused, ...}: `found` = `taken` + `refused` images, `ignored` other files. With
    `dry_run` nothing is written and the result tells how everything would be understood. Raises InputError when there
    is nothing to read, ConfigError when a setting does not fit the table.
    """
    out = Path(out)
    if is_dicomweb(str(source)):
        return _from_network(str(source), out, config, seed, dry_run)
    if dry_run:
        return _dry_run(Path(source), out, config, seed)
    _check_absent(out)
    with lock(out):
        return _ingest(Path(source), out, config, seed)


def _check_absent(out: Path) -> None:
    if out.exists():
        raise ArtifactError(Problem(f"cohort {out}", "already exists", remedy="choose another --out or remove it"))


def _from_network(url: str, out: Path, config: IngestConfig, seed: int, dry_run: bool) -> dict[str, Any]:
    """Fetches into a folder beside the cohort, which is removed once the cohort is whole, and reads that folder."""
    from synthcohort.ingest.dicomweb import fetch, remove_download

    download = out.with_name(out.name + ".download")
    if dry_run:
        report = fetch(url, download, config.dicomweb, dry_run=True)
        return {"cohort": out.as_posix(), "dry_run": True, "fetched": report.summary()}
    _check_absent(out)
    with lock(out):
        report = fetch(url, download, config.dicomweb)
        absent = tuple(Refused(name, "", reason) for name, reason in report.failed)
        result = _ingest(report.folder, out, config, seed, absent)
    if not config.dicomweb.keep:
        remove_download(download)
    return {**result, "fetched": report.summary()}


def _dry_run(source: Path, out: Path, config: IngestConfig, seed: int) -> dict[str, Any]:
    job, _ = _job(source, out, config, seed)
    parts = read_all(job.chunks, job.task, None, config.workers, _warn)
    plan = decide(job, parts)
    return {"cohort": out.as_posix(), "dry_run": True, **result_of(job, plan)}


def _ingest(
    source: Path, out: Path, config: IngestConfig, seed: int, absent: tuple[Refused, ...] = ()
) -> dict[str, Any]:
    partial = partial_path(out)
    if (partial / "cohort.json").exists():  # killed between the last write and the rename
        finish_publishing(partial, out)
        return {"cohort": out.as_posix(), **result_again(Cohort.open(out))}
    job, new = _job(source, out, config, seed, absent)
    begun = partial.exists()
    try:
        if new:  # before anything is made with it
            write_key(*new)
        _open_partial(job, partial)
        read_all(job.chunks, job.task, partial, config.workers, _warn)
        plan = decide(job, read_parts(partial, len(job.chunks)), partial)
    except SynthCohortError:
        if not begun:  # a setting that does not fit, or nothing that can be read: nothing half-made is left behind
            remove(partial)
            if new:
                remove(new[0])
        raise
    from synthcohort.ingest.writing import write

    result = result_of(job, plan)
    write(job, out, plan, result)
    return {"cohort": out.as_posix(), **result}


def _warn(text: str) -> None:
    print(text, file=sys.stderr)


def _job(
    source: Path, out: Path, config: IngestConfig, seed: int, absent: tuple[Refused, ...] = ()
) -> tuple[Job, tuple[Path, bytes] | None]:
    """The work to do, and the key with its path when it has yet to be written."""
    captioner = _captioner(config)  # a flaw in a user's templates is said before the work, not after
    key_path = Path(config.key_file) if config.key_file else out.with_name(out.name + ".key")
    listing = scan(source, exclude=(out, partial_path(out), key_path, out.with_name(f".{out.name}.lock")))
    key, is_new = _key(config, key_path, seed)
    pseudonyms = Pseudonyms(key)
    table = find_table(listing, config, pseudonyms, config.folders)
    task = _task(listing, table, config, key)
    wanted, unread = [], [*absent, *(Refused(name, "", reason) for name, reason in listing.refused)]
    for position, file in enumerate(listing.images):
        reason = table.refusal(file.name)
        if reason:
            unread.append(Refused(file.name, "", reason))
        else:
            wanted.append((position, file))
    # read in the order of the pseudonyms, so that the layout tells nothing of the archive's order
    wanted.sort(key=lambda item: pseudonyms.image(item[1].name))
    job = Job(listing, table, task, pseudonyms, config, seed, chunked(wanted), tuple(unread), captioner)
    return job, (key_path, key) if is_new else None


def _captioner(config: IngestConfig) -> Captioner | None:
    """The templates that the settings name; None when no captions are wanted."""
    if config.captions == "-":
        return None
    return Captioner.load(Path(config.captions) if config.captions else None)


def _task(listing: Listing, table: SourceTable, config: IngestConfig, key: bytes) -> Task:
    tiles, text, headers = config.tiles, None, None
    if config.pixel_text != "unchecked":
        from synthcohort.ingest.pixel_text import TextPolicy

        text = TextPolicy(config.pixel_text, config.markers)
    if config.headers != "none":
        from synthcohort.ingest.header_profile import HeaderOptions

        headers = HeaderOptions(shift_dates=config.dates == "shift", clean_pixel_data=text is not None)
    return Task(
        root=listing.root,
        modalities=_modalities(listing, table),
        size=_size(config.size),
        fit=config.fit,
        key=key,
        read=ReadOptions(
            config.slices, tiles.size, tiles.microns_per_pixel, tiles.most, tiles.tissue, modality=config.modality
        ),
        text=text,
        fingerprints=config.near_duplicates != "off",
        headers=headers,
    )


def _modalities(listing: Listing, table: SourceTable) -> dict[str, str]:
    """CT by the table's word, for files that cannot say it themselves: their numbers are Hounsfield units."""
    column = table.mapped.known.get("modality")
    if not column or table.by_file is None:
        return {}
    named = ((file.name, table.by_file.rows.get(file.name)) for file in listing.images if file.format != "dicom")
    return {name: "CT" for name, row in named if row and row[column].strip().upper() == "CT"}


def _key(config: IngestConfig, path: Path, seed: int) -> tuple[bytes, bool]:
    """The key, and whether it has yet to be written."""
    if config.key == "seed":
        return seed_key(seed), False
    if config.key_file or path.exists():
        return read_key(path), False
    return new_key(), True


def _size(size: int | tuple[int, int]) -> tuple[int, int] | None:
    if isinstance(size, tuple):
        return size
    return (size, size) if size else None


def _open_partial(job: Job, partial: Path) -> None:
    """Makes the folder of the unfinished cohort, readable by its owner alone, or goes on with it when it is ours."""
    fingerprint = digest_json(
        [
            list(SCHEMA.names),
            job.asked, job.seed, job.pseudonyms.key_id,
            digest_each((ascii(file.name), file.size) for file in job.listing.images), job.table.fingerprint,
        ]
    )  # fmt: skip
    open_partial(partial, fingerprint, "another configuration or source")
    os.chmod(partial, 0o700)
