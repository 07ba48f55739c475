"""The stage itself: scan, join the table, read, group, split, write.

Everything is read once. The reading pass stores pixels and a journal chunk by chunk; decisions that need all images
(labels, groups, roles, volumes) are made from the journal, and the records are written last.
"""

import csv
import io
import json
import os
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from synthcohort.core.cohort import ROLES, Cohort, partial_path, record_schema, shard_name
from synthcohort.core.cohort_writer import publish
from synthcohort.core.config import to_mapping
from synthcohort.core.errors import ArtifactError, InputError, Problem, SynthCohortError
from synthcohort.core.files import atomic_path, check_writable, digest_json, lock, read_json, remove, write_json
from synthcohort.formats.image import ReadOptions
from synthcohort.ingest.assign import Assigned, assign
from synthcohort.ingest.caption import Captioner, choose
from synthcohort.ingest.config import IngestConfig
from synthcohort.ingest.decode import Task
from synthcohort.ingest.deidentify import Pseudonyms, new_key, read_key, seed_key, write_key
from synthcohort.ingest.dicomweb import fetch, is_dicomweb, remove_download
from synthcohort.ingest.header_profile import HeaderOptions
from synthcohort.ingest.journal import SPAN, part_path, read_parts
from synthcohort.ingest.pixel_text import TextPolicy
from synthcohort.ingest.reading import Chunk, chunked, read_all
from synthcohort.ingest.scan import Listing, scan
from synthcohort.ingest.series import left_out, places_in, summary, volumes_file, volumes_of
from synthcohort.ingest.source_table import Row, SourceTable, find_table, with_carried
from synthcohort.ingest.survey import Refused, Survey, survey
from synthcohort.ingest.vocabulary import VIEWS
from synthcohort.ingest.volumes import Volume
from synthcohort.pages.profile import render_profile

if TYPE_CHECKING:
    from synthcohort.ingest.near_duplicates import NearDuplicates

IN_PROVENANCE = (
    "found", "taken", "refused", "refused_because", "ignored", "duplicates", "near_duplicates", "volumes", "columns",
    "dropped", "changes",
)  # fmt: skip
COMPACTED = SPAN // 2  # added to the number of a shard that was written again without refused images


@dataclass(frozen=True)
class Job:
    """What a call is about, once the settings are understood."""

    listing: Listing
    table: SourceTable
    task: Task
    pseudonyms: Pseudonyms
    config: IngestConfig
    seed: int
    chunks: Sequence[Chunk]
    unread: tuple[Refused, ...]  # files that the table rules out before they are read


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
    _captioner(config)
    parts = read_all(job.chunks, job.task, None, config.workers, _warn)
    plan = _decide(job, survey(parts, [file.name for file in job.listing.images], job.unread))
    return {"cohort": out.as_posix(), "dry_run": True, **_result(job, plan)}


def _ingest(
    source: Path, out: Path, config: IngestConfig, seed: int, absent: tuple[Refused, ...] = ()
) -> dict[str, Any]:
    partial = partial_path(out)
    if (partial / "cohort.json").exists():  # killed between the last write and the rename
        remove(partial / "cohort.json")
    _captioner(config)  # a flaw in a user's templates is said before the work, not after
    job, new = _job(source, out, config, seed, absent)
    begun = partial.exists()
    _open_partial(job, partial)
    try:
        if new:
            write_key(*new)
        read_all(job.chunks, job.task, partial, config.workers, _warn)
        parts = read_parts(partial, len(job.chunks))
        plan = _decide(job, survey(parts, [file.name for file in job.listing.images], job.unread))
    except SynthCohortError:
        if not begun:  # a setting that does not fit, or nothing that can be read: nothing half-made is left behind
            remove(partial)
            if new:
                remove(new[0])
        raise
    result = _result(job, plan)
    _write(job, out, plan, result)
    return {"cohort": out.as_posix(), **result}


def _warn(text: str) -> None:
    print(text, file=sys.stderr)


def _job(
    source: Path, out: Path, config: IngestConfig, seed: int, absent: tuple[Refused, ...] = ()
) -> tuple[Job, tuple[Path, bytes] | None]:
    """The work to do, and the key with its path when it has yet to be written."""
    key_path = Path(config.key_file) if config.key_file else out.with_name(out.name + ".key")
    listing = scan(source, exclude=(out, partial_path(out), key_path, out.with_name(f".{out.name}.lock")))
    key, is_new = _key(config, key_path, seed)
    pseudonyms = Pseudonyms(key)
    table = find_table(listing, config, pseudonyms, config.folders)
    task = _task(listing.root, config, key)
    wanted, unread = [], [*absent, *(Refused(name, "", reason) for name, reason in listing.refused)]
    for position, file in enumerate(listing.images):
        reason = table.refusal(file.name)
        if reason:
            unread.append(Refused(file.name, "", reason))
        else:
            wanted.append((position, file))
    # read in the order of the pseudonyms, so that the layout tells nothing of the archive's order
    wanted.sort(key=lambda item: pseudonyms.image(item[1].name))
    job = Job(listing, table, task, pseudonyms, config, seed, chunked(wanted), tuple(unread))
    return job, (key_path, key) if is_new else None


def _task(root: Path, config: IngestConfig, key: bytes) -> Task:
    tiles = config.tiles
    return Task(
        root=root,
        size=_size(config.size),
        fit=config.fit,
        key=key,
        read=ReadOptions(config.slices, tiles.size, tiles.microns_per_pixel, tiles.most, tiles.tissue),
        text=None if config.pixel_text == "unchecked" else TextPolicy(config.pixel_text, config.markers),
        fingerprints=config.near_duplicates != "off",
        headers=None
        if config.headers == "none"
        else HeaderOptions(shift_dates=config.dates == "shift", clean_pixel_data=config.pixel_text != "unchecked"),
    )


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


def _asked(config: IngestConfig) -> dict[str, Any]:
    """The settings as the cohort may tell them: names of the owner's files and servers are his alone."""
    public = replace(config, table="", key_file="", captions="", dicomweb=config.dicomweb.public())
    return to_mapping(public)


def _open_partial(job: Job, partial: Path) -> None:
    """Makes the folder of the unfinished cohort, readable by its owner alone, or goes on with it when it is ours."""
    fingerprint = digest_json(
        [
            {**_asked(job.config), "workers": 0}, job.seed, job.pseudonyms.key_id,
            [[file.name, file.size] for file in job.listing.images], job.table.fingerprint,
        ]
    )  # fmt: skip
    marker = partial / "partial.json"
    if marker.exists():
        if read_json(marker)["fingerprint"] != fingerprint:
            raise ArtifactError(
                Problem(
                    f"{partial}",
                    "holds an unfinished cohort of another configuration or source",
                    remedy="finish it with the configuration it was begun with, or remove it",
                )
            )
        return
    remove(partial)
    check_writable(partial)
    for folder in ("images", "parts"):
        (partial / folder).mkdir(parents=True)
    os.chmod(partial, 0o700)
    write_json(marker, {"fingerprint": fingerprint})


@dataclass(frozen=True)
class Plan:
    """What is decided once everything was read: the images taken, what they are, and the volumes they form."""

    found: Survey
    table: SourceTable
    assigned: Assigned
    volumes: Sequence[Volume]
    alike: "NearDuplicates | None"


def _decide(job: Job, found: Survey) -> Plan:
    found, rows, table = _described(job, found)
    volumes = volumes_of(found)
    if job.config.slices != "all" and (refused := left_out(found, volumes, job.config.slices)):
        rows = [row for i, row in enumerate(rows) if i not in refused]
        found = found.without(refused)
        volumes = volumes_of(found)
    alike = None
    if found.fingerprints is not None:
        from synthcohort.ingest.near_duplicates import find_groups

        alike = find_groups(*found.fingerprints)
    groups = alike.groups if alike is not None and job.config.near_duplicates == "group" else ()
    assigned = assign(found, rows, table, job.pseudonyms, job.config, job.seed, groups)
    return Plan(found, table, assigned, volumes, alike)


def _described(job: Job, found: Survey) -> tuple[Survey, list[Row | None], SourceTable]:
    """The images that may be taken, each with its row, and the table with what images carried; refuses the others."""
    sides, sops, patients = (found.column(name) for name in ("laterality", "sop", "patient"))
    rows: list[Row | None] = []
    refused: dict[int, str] = {}
    for i, name in enumerate(found.files):
        row, reason = job.table.row(name, {"sop_instance_uid": sops[i], "patient_id": patients[i]}, sides[i])
        if reason:
            refused[i] = reason
        else:
            rows.append(row)
    found = found.without(refused)
    if not len(found):
        reasons = "; ".join(f"{reason} ({n})" for reason, n in list(found.reasons().items())[:3])
        count = len(found.refused)
        raise InputError(Problem(f"source {job.listing.root}", f"none of {count} images could be taken: {reasons}"))
    carried = [json.loads(text) if text else None for text in found.column("row")]
    table, rows = with_carried(job.table, rows, carried, job.config)
    return found, rows, table


def _write(job: Job, out: Path, plan: Plan, result: Mapping[str, Any]) -> None:
    partial, found, assigned = partial_path(out), plan.found, plan.assigned
    schema = record_schema(label.label for label in assigned.labels)
    moved = _compact(partial, found)
    table = pa.concat_tables(
        pa.Table.from_pylist(batch, schema=schema) for batch in _records(job, plan, moved)
    ).sort_by("image_id")
    provenance = {
        "stage": "ingest", "config": _asked(job.config), "seed": job.seed, "key": job.config.key,
        "key_id": job.pseudonyms.key_id, **{name: result[name] for name in IN_PROVENANCE},
    }  # fmt: skip
    labels = [label.label for label in assigned.labels]
    info = {
        "name": job.config.name or out.name,
        "origin": "real",
        "labels": [{"name": x.name, "kind": x.kind, "values": list(x.values)} for x in labels],
        "provenance": provenance,
        "main_label": assigned.main.label.name if assigned.main else None,
        "roles": result["roles"],
        "warnings": result["warnings"],
        "near_duplicates_may_cross": assigned.near_duplicates_may_cross,
    }
    extra: dict[str, str | bytes] = {"refused.csv": _refused_csv(job, plan)}
    if plan.volumes:
        extra["volumes.json"] = volumes_file(plan.volumes, found.column("image_id"))
    if job.task.headers is not None:
        extra["headers.jsonl"] = _headers(partial, len(job.chunks), set(table.column("image_id").to_pylist()))
    extra["profile.html"] = render_profile(Cohort(partial, info, table), result)
    shards = sorted(set(table.column("shard").to_pylist()))
    publish(partial, out, info, table, shards, extra)


def _records(job: Job, plan: Plan, moved: Mapping[tuple[int, int], tuple[int, int]]) -> Iterator[list[dict[str, Any]]]:
    """The records, a batch at a time."""
    batch: list[dict[str, Any]] = []
    same = ("image_id", "pixels_digest", "rows", "columns", "channels")
    numbers = places_in(plan.volumes)
    planes = {i: volume.plane.upper() for volume in plan.volumes for i in volume.indices}
    labels = [label.label for label in plan.assigned.labels]
    captioner = _captioner(job.config)
    for i, row in enumerate(plan.found.rows()):
        place = (row["shard"], row["shard_row"])
        shard, shard_row = moved.get(place, place)
        record = plan.assigned.record(i, row, job.pseudonyms) | {name: row[name] for name in same}
        if i in numbers:
            record["frame"] = numbers[i]
            if planes[i] in VIEWS:
                record.setdefault("view", planes[i])
        if captioner is not None:
            phrasings = captioner.captions(record, labels, record.get("caption"))
            record["phrasings"] = list(phrasings)
            if not record.get("caption"):
                record["caption"] = choose(row["image_id"], phrasings)
        batch.append(record | {"shard": shard, "shard_row": shard_row})
        if len(batch) == 1000:
            yield batch
            batch = []
    yield batch


def _captioner(config: IngestConfig) -> Captioner | None:
    if config.captions == "-":
        return None
    return Captioner.load(Path(config.captions) if config.captions else None)


def _compact(partial: Path, found: Survey) -> dict[tuple[int, int], tuple[int, int]]:
    """Writes shards that hold refused images again without them, so that no pixel of these stays in the cohort.

    Returns the new (shard, row) of every image that moved.
    """
    rows_of: dict[int, list[int]] = {}
    for shard, row in zip(found.column("shard"), found.column("shard_row"), strict=True):
        rows_of.setdefault(shard, []).append(row)
    moved: dict[tuple[int, int], tuple[int, int]] = {}
    for shard, rows in rows_of.items():
        whole = np.load(partial / "images" / shard_name(shard), mmap_mode="r", allow_pickle=False)
        if len(rows) == len(whole):
            continue
        with (
            atomic_path(partial / "images" / shard_name(shard + COMPACTED)) as temporary,
            open(temporary, "wb") as file,
        ):
            np.save(file, whole[sorted(rows)], allow_pickle=False)
        moved |= {(shard, row): (shard + COMPACTED, n) for n, row in enumerate(sorted(rows))}
    return moved


def _headers(partial: Path, chunks: int, taken: set[str]) -> str:
    """headers.jsonl: the de-identified headers, one JSON object a line with its image's id, in the order of the ids."""
    lines = []
    for number in range(chunks):
        part = pq.read_table(part_path(partial, number), columns=["image_id", "header"])
        for row in part.to_pylist():
            if row["header"] is not None and row["image_id"] in taken:
                lines.append(f'{{"image_id": "{row["image_id"]}", "header": {row["header"]}}}\n')
    return "".join(sorted(lines))


def _result(job: Job, plan: Plan) -> dict[str, Any]:
    """Counts and choices, for the command's output and for the cohort's provenance; no value of any patient."""
    listing, table, found, assigned = job.listing, plan.table, plan.found, plan.assigned
    images = Counter(assigned.roles)
    patients: dict[str, set[str]] = {role: set() for role in ROLES}
    for role, patient in zip(assigned.roles, assigned.patients, strict=True):
        if patient is not None:
            patients[role].add(patient)
    ignored = Counter(reason for _, reason in listing.ignored)
    ignored.update(["a table"] * len(listing.tables))
    changes = Counter(note for notes in found.column("notes") for note in notes or ())
    left = Counter(name for names in found.column("dropped_facts") for name in names or ())
    changes.update({f"{name} of the header was no known word and left out": n for name, n in left.items()})
    return {
        "found": len(found) + len(found.refused),
        "taken": len(found),
        "refused": len(found.refused),
        "refused_because": found.reasons(),
        "ignored": dict(sorted(ignored.items())),
        "listed_but_absent": len(table.absent),
        "duplicates": assigned.duplicates,
        "columns": assigned.columns,
        "labels": {x.label.name: {"kind": x.label.kind, "values": list(x.label.values)} for x in assigned.labels},
        "main_label": assigned.main.label.name if assigned.main else None,
        "dropped": assigned.dropped,
        "roles": {role: {"images": images[role], "patients": len(patients[role])} for role in ROLES},
        "changes": dict(sorted(changes.items())),
        "warnings": assigned.warnings + table.warnings + _suggested(job, plan),
        "volumes": summary(plan.volumes) if plan.volumes else None,
        "near_duplicates": None,
        "bytes": sum(found.column("nbytes")),
    }


def _suggested(job: Job, plan: Plan) -> tuple[str, ...]:
    """What kind of images these seem to be, where nobody said so: for the user to confirm, never taken by itself."""
    labels = [label.label for label in plan.assigned.labels]
    names = [job.listing.root.name, *(name for name in job.listing.tables)]
    known = {
        key: bool(getattr(job.config, key)) or any(plan.found.column(key)) or key in plan.assigned.columns
        for key in ("modality", "body_part")
    }
    hints = {key: value for key, value in Captioner.load().suggest(names, labels).items() if value and not known[key]}
    if not hints:
        return ()
    asked = " ".join(f"--set ingest.{key}={value}" for key, value in sorted(hints.items()))
    return (f"no file says what kind of image this is; by its names it seems to be: {asked}",)


def _refused_csv(job: Job, plan: Plan) -> str:
    text = io.StringIO()
    text.write("# For the owner of the archive: holds names of files. Remove it before the cohort leaves the house.\n")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("file", "part", "status", "reason"))
    writer.writerows((item.name, item.part, "refused", item.reason) for item in plan.found.refused)
    writer.writerows((name, "", "ignored", reason) for name, reason in job.listing.ignored)
    writer.writerows((name, "", "ignored", "a table") for name in job.listing.tables)
    writer.writerows((name, "", "absent", "named by the table, not in the folder") for name in plan.table.absent)
    return text.getvalue()
