"""The plan of a cohort: what was read, joined to its table, grouped, split, and assembled into volumes."""

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from synthcohort.core.cohort import ROLES, Cohort
from synthcohort.core.config import to_mapping
from synthcohort.core.errors import InputError, Problem
from synthcohort.ingest.assign import Assigned, assign
from synthcohort.ingest.caption import Captioner
from synthcohort.ingest.config import IngestConfig
from synthcohort.ingest.decode import Task
from synthcohort.ingest.deidentify import Pseudonyms
from synthcohort.ingest.reading import Chunk
from synthcohort.ingest.scan import Listing
from synthcohort.ingest.series import left_out, summary, volumes_of
from synthcohort.ingest.source_table import Row, SourceTable, with_carried
from synthcohort.ingest.survey import Refused, Survey, survey
from synthcohort.ingest.volumes import Volume

if TYPE_CHECKING:
    from synthcohort.ingest.near_duplicates import NearDuplicates

IN_PROVENANCE = (
    "found", "taken", "refused", "refused_because", "ignored", "duplicates", "near_duplicates", "volumes", "columns",
    "dropped", "changes",
)  # fmt: skip


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
    captioner: Captioner | None  # None: no captions are wanted

    @property
    def asked(self) -> dict[str, Any]:
        """The settings as the cohort may tell them: names of the owner's files and servers are his alone."""
        config = self.config
        public = replace(config, table="", key_file="", captions="", workers=0, dicomweb=config.dicomweb.public())
        return to_mapping(public)


@dataclass(frozen=True)
class Plan:
    """What is decided once everything was read: the images taken, what they are, and the volumes they form."""

    found: Survey
    table: SourceTable
    assigned: Assigned
    volumes: Sequence[Volume]
    alike: "NearDuplicates | None"


def decide(job: Job, parts: Iterable[pa.Table], folder: Path | None = None) -> Plan:
    """The plan from the journal's parts; what memory should not hold lies in files of `folder` meanwhile.

    Raises InputError when nothing can be taken or a setting does not fit.
    """
    names = [file.name for file in job.listing.images]
    found, rows, table = _described(job, survey(parts, names, job.unread, folder))
    volumes = volumes_of(found)
    if job.config.slices != "all" and (refused := left_out(found, volumes, job.config.slices)):
        rows = [row for i, row in enumerate(rows) if i not in refused]
        found = found.without(refused)
        volumes = volumes_of(found)
    alike = None
    if found.fingerprints is not None:
        from synthcohort.ingest.near_duplicates import find_groups

        marks = found.fingerprints
        alike = find_groups(marks.vectors, marks.thumbnails, workers=job.config.workers, folder=folder)
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


def result_of(job: Job, plan: Plan) -> dict[str, Any]:
    """Counts and choices, for the command's output and for the cohort's provenance; no value of any patient."""
    listing, table, found, assigned = job.listing, plan.table, plan.found, plan.assigned
    images = Counter(assigned.roles)
    patients: dict[str, set[str]] = {role: set() for role in ROLES}
    for role, patient in zip(assigned.roles, assigned.patients, strict=True):
        if patient is not None:
            patients[role].add(patient)
    ignored = Counter(reason for _, reason in listing.ignored)
    ignored.update(["a table"] * len(listing.tables))
    changes, left = (
        Counter(pc.list_flatten(found.table.column(name)).to_pylist()) for name in ("notes", "dropped_facts")
    )
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
        "near_duplicates": _near_duplicates(plan),
        "bytes": sum(found.column("nbytes")),
    }


def result_again(cohort: Cohort) -> dict[str, Any]:
    """What a whole cohort says of its making, for a call that only had to give it its name."""
    made, info = cohort.info["provenance"], cohort.info
    return {**{name: made[name] for name in IN_PROVENANCE}, "roles": info["roles"], "warnings": info["warnings"]}


def _near_duplicates(plan: Plan) -> dict[str, Any] | None:
    """The leakage report with its sentences; None when nobody looked."""
    if plan.alike is None:
        return None
    from synthcohort.ingest.leakage import leakage, said

    report = leakage(plan.alike, plan.assigned.roles, patients=plan.assigned.patients, labels=plan.assigned.values)
    whole = (
        f"{report['pairs']} pairs of near-duplicates in {report['groups']} groups of {report['grouped_images']} images."
    )
    return {**report, "said": [whole, *(f"{text[0].upper()}{text[1:]}." for text in said(report))]}


def _suggested(job: Job, plan: Plan) -> tuple[str, ...]:
    """What kind of images these seem to be, where nobody said so: for the user to confirm, never taken by itself."""
    labels = [label.label for label in plan.assigned.labels]
    names = [job.listing.root.name, *(name for name in job.listing.tables)]
    known = {
        key: bool(getattr(job.config, key)) or any(plan.found.column(key)) or key in plan.assigned.columns
        for key in ("modality", "body_part")
    }
    hints = {
        key: value
        for key, value in (job.captioner or Captioner.load()).suggest(names, labels).items()
        if value and not known[key]
    }
    if not hints:
        return ()
    asked = " ".join(f"--set ingest.{key}={value}" for key, value in sorted(hints.items()))
    return (f"no file says what kind of image this is; by its names it seems to be: {asked}",)
