"""The stage itself: scan, join the table, decode, group, split, write."""

import csv
import io
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from synthcohort.core.cohort import ROLES, partial_path
from synthcohort.core.cohort_writer import CohortWriter
from synthcohort.core.config import to_mapping
from synthcohort.core.errors import ArtifactError, InputError, Problem
from synthcohort.core.files import digest_json, lock
from synthcohort.core.progress import progress
from synthcohort.ingest.assign import Assigned, assign
from synthcohort.ingest.config import IngestConfig
from synthcohort.ingest.decode import Decoded, Failed, Task, decode, decode_all
from synthcohort.ingest.deidentify import Pseudonyms, new_key, read_key, seed_key, write_key
from synthcohort.ingest.scan import Listing, SourceFile, scan
from synthcohort.ingest.source_table import SourceTable, find_table

KEPT_BYTES = 256 * 2**20  # pixels kept between the two passes; what does not fit is decoded twice


@dataclass
class Survey:
    """What the first pass found out, in the order of the listing."""

    images: list[Decoded] = field(default_factory=list)
    rows: list[Mapping[str, str] | None] = field(default_factory=list)
    failed: list[Failed] = field(default_factory=list)


def ingest(source: Path, out: Path, config: IngestConfig, seed: int, dry_run: bool = False) -> dict[str, Any]:
    """Makes the cohort `out` from a folder of images, with or without a table; the same call again resumes.

    Returns {cohort, found, taken, refused, ...}: `found` = `taken` + `refused` images, `ignored` other files. With
    `dry_run` nothing is written and the result tells how everything would be understood. Raises InputError when there
    is nothing to read, ConfigError when a setting does not fit the table.
    """
    source, out = Path(source), Path(out)
    if dry_run:
        return _ingest(source, out, config, seed, dry_run=True)
    if out.exists():
        raise ArtifactError(Problem(f"cohort {out}", "already exists", remedy="choose another --out or remove it"))
    with lock(out):
        return _ingest(source, out, config, seed, dry_run=False)


def _ingest(source: Path, out: Path, config: IngestConfig, seed: int, dry_run: bool) -> dict[str, Any]:
    key_path = Path(config.key_file) if config.key_file else out.with_name(out.name + ".key")
    listing = scan(source, exclude=(out, partial_path(out), key_path, out.with_name(f".{out.name}.lock")))
    table = find_table(listing, config)
    key, is_new = _key(config, key_path, seed)
    pseudonyms = Pseudonyms(key)
    task = Task(listing.root, _size(config.size), config.fit, key)
    survey = _survey(listing, table, task, config)
    if not survey.images:
        reasons = "; ".join(f"{reason} ({n})" for reason, n in _reasons(survey.failed)[:3])
        raise InputError(Problem(f"source {source}", f"none of {len(listing.images)} images could be taken: {reasons}"))
    plan = assign(survey.images, survey.rows, table, config, seed)
    result = _result(listing, survey, table, plan, config)
    if dry_run:
        return {"cohort": out.as_posix(), "dry_run": True, **result}
    if is_new:
        write_key(key_path, key)
    _write(out, listing, survey, table, plan, pseudonyms, task, config, seed, result)
    return {"cohort": out.as_posix(), **result}


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


def _survey(listing: Listing, table: SourceTable, task: Task, config: IngestConfig) -> Survey:
    """Decodes everything once, refuses what cannot be taken, and keeps what the split needs to know."""
    survey = Survey()
    wanted: list[SourceFile] = []
    for file in listing.images:
        reason = table.refusal(file.name)
        if reason:
            survey.failed.append(Failed(file.name, reason))
        else:
            wanted.append(file)
    kept = 0
    with progress(len(wanted), "reading") as advance:
        for item in decode_all(wanted, task, config.workers, warn=lambda text: print(text, file=sys.stderr)):
            advance(1)
            if isinstance(item, Decoded):
                row, reason = table.row(item)
                if reason:
                    item = Failed(item.name, reason)
                else:
                    kept += item.nbytes
                    survey.images.append(item if kept <= KEPT_BYTES else item.without_pixels())
                    survey.rows.append(row)
            if isinstance(item, Failed):
                survey.failed.append(item)
    survey.failed.sort(key=lambda failed: failed.name)
    return survey


def _write(
    out: Path, listing: Listing, survey: Survey, table: SourceTable, plan: Assigned, pseudonyms: Pseudonyms, task: Task,
    config: IngestConfig, seed: int, result: Mapping[str, Any],
) -> None:  # fmt: skip
    # Neither the table's name nor the key's place enters the cohort: both belong to the owner's archive.
    asked = {**to_mapping(config), "table": "", "key_file": ""}
    fingerprint = digest_json(
        [asked, seed, pseudonyms.key_id, [[file.name, file.size] for file in listing.images], table.fingerprint]
    )
    kept = ("found", "taken", "refused", "refused_because", "ignored", "duplicates", "columns", "dropped", "changes")
    provenance = {"stage": "ingest", "config": asked, "seed": seed, "key": config.key, "key_id": pseudonyms.key_id}
    provenance |= {name: result[name] for name in kept}
    name = config.name or out.name
    labels = [label.label for label in plan.labels]
    writer = CohortWriter(out, name, "real", labels, provenance, fingerprint)
    files = {file.name: file for file in listing.images}
    with _named_order(survey, pseudonyms) as order, progress(len(order), "writing", start=len(writer.done)) as advance:
        for i, image_id in order:
            if image_id in writer.done:
                continue
            item = survey.images[i]
            if item.pixels is None:
                again = decode(files[item.name], task)
                if isinstance(again, Failed) or again.source_digest != item.source_digest:
                    raise InputError(Problem(f"source {listing.root}", "an image changed while it was being read"))
                item = again
            writer.add(item.pixels, plan.record(i, item, pseudonyms) | {"image_id": image_id})  # type: ignore[arg-type]
            advance(1)
    writer.finish(
        extra_files={"refused.csv": _refused_csv(listing, survey, table)},
        main_label=plan.main.label.name if plan.main else None,
        roles=result["roles"],
        warnings=result["warnings"],
        near_duplicates_may_cross=plan.near_duplicates_may_cross,
    )


@contextmanager
def _named_order(survey: Survey, pseudonyms: Pseudonyms) -> Iterator[list[tuple[int, str]]]:
    """Positions with their image ids, in the order they are written: by id, which tells nothing of the archive's."""
    yield sorted(((i, pseudonyms.image(item.name)) for i, item in enumerate(survey.images)), key=lambda pair: pair[1])


def _result(
    listing: Listing, survey: Survey, table: SourceTable, plan: Assigned, config: IngestConfig
) -> dict[str, Any]:
    """Counts and choices, for the command's output and for the cohort's provenance; no value of any patient."""
    images = Counter(plan.roles)
    patients: dict[str, set[str]] = {role: set() for role in ROLES}
    for role, patient in zip(plan.roles, plan.patients, strict=True):
        if patient is not None:
            patients[role].add(patient)
    ignored = Counter(reason for _, reason in listing.ignored)
    ignored.update(["a table"] * len(listing.tables))
    changes = Counter(note for item in survey.images for note in item.notes)
    left = Counter(name for item in survey.images for name in item.dropped_facts)
    changes.update({f"{name} of the header was no known word and left out": n for name, n in left.items()})
    return {
        "found": len(listing.images),
        "taken": len(survey.images),
        "refused": len(survey.failed),
        "refused_because": dict(_reasons(survey.failed)),
        "ignored": dict(sorted(ignored.items())),
        "listed_but_absent": len(table.absent),
        "duplicates": plan.duplicates,
        "columns": plan.columns,
        "labels": {x.label.name: {"kind": x.label.kind, "values": list(x.label.values)} for x in plan.labels},
        "main_label": plan.main.label.name if plan.main else None,
        "dropped": plan.dropped,
        "roles": {role: {"images": images[role], "patients": len(patients[role])} for role in ROLES},
        "changes": dict(sorted(changes.items())),
        "warnings": plan.warnings + table.warnings,
        "bytes": sum(item.nbytes for item in survey.images),
    }


def _reasons(failed: Sequence[Failed]) -> list[tuple[str, int]]:
    return sorted(Counter(item.reason for item in failed).items(), key=lambda pair: (-pair[1], pair[0]))


def _refused_csv(listing: Listing, survey: Survey, table: SourceTable) -> str:
    text = io.StringIO()
    text.write("# For the owner of the archive: holds names of files. Remove it before the cohort leaves the house.\n")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("file", "status", "reason"))
    writer.writerows((item.name, "refused", item.reason) for item in survey.failed)
    writer.writerows((name, "ignored", reason) for name, reason in listing.ignored)
    writer.writerows((name, "ignored", "a table") for name in listing.tables)
    writer.writerows((name, "absent", "named by the table, not in the folder") for name in table.absent)
    return text.getvalue()
