"""Writing the cohort: records from the plan, shards without refused images, and the files beside them."""

import csv
import io
import json
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from synthcohort.core.cohort import Cohort, partial_path, record_schema, shard_name
from synthcohort.core.cohort_writer import publish_files, write_records
from synthcohort.core.files import atomic_path
from synthcohort.ingest.caption import choose
from synthcohort.ingest.journal import SPAN, part_path
from synthcohort.ingest.leakage import listed
from synthcohort.ingest.plan import IN_PROVENANCE, Job, Plan
from synthcohort.ingest.series import places_in, volumes_file
from synthcohort.ingest.survey import Survey
from synthcohort.ingest.vocabulary import VIEWS
from synthcohort.pages.profile import render_profile

SAID = ("modality", "body_part", "view", "laterality", "sex", "age", "channels", "caption")  # what captions speak of
UNSEEN = ("phrasings", "group_id", "source_digest", "pixels_digest")
BATCH, ROW_GROUP = 500, 5000  # records made at a time, and of a group in their file
OWNERS = "# For the owner of the archive: holds names of files. Remove it before the cohort leaves the house.\n"
COMPACTED = SPAN // 2  # added to the number of a shard that was written again without refused images


def write(job: Job, out: Path, plan: Plan, result: Mapping[str, Any]) -> None:
    partial, found, assigned = partial_path(out), plan.found, plan.assigned
    schema = record_schema(label.label for label in assigned.labels)
    shards, moved = _compact(partial, found)
    provenance = {
        "stage": "ingest", "config": job.asked, "seed": job.seed, "key": job.config.key,
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
    tables = (pa.Table.from_pylist(batch, schema=schema) for batch in _records(job, plan, moved))
    groups = (pa.concat_tables([table, *islice(tables, ROW_GROUP // BATCH - 1)]) for table in tables)
    records = write_records(partial, info, schema, groups)
    extra: dict[str, str | bytes] = {}
    if plan.volumes:
        extra["volumes.json"] = volumes_file(plan.volumes, found.column("image_id"))
    if job.task.headers is not None:
        extra["headers.jsonl"] = _headers(
            partial,
            len(job.chunks),
            dict(zip(found.column("image_id"), assigned.patients, strict=True)),
        )
    private: dict[str, str | bytes] = {
        "refused.csv": _refused_csv(job, plan).encode(errors="backslashreplace"),
        "profile.html": render_profile(Cohort(partial, info, _seen(partial, schema)), result),
    }
    if plan.alike is not None and len(plan.alike.pairs):
        private["duplicates.csv"] = _duplicates_csv(plan).encode(errors="backslashreplace")
    publish_files(partial, out, info, records, shards, extra, private)


def _seen(partial: Path, schema: pa.Schema) -> pa.Table:
    """The records without what no profile shows."""
    return pq.read_table(partial / "records.parquet", columns=[name for name in schema.names if name not in UNSEEN])


def _records(job: Job, plan: Plan, moved: Mapping[tuple[int, int], tuple[int, int]]) -> Iterator[list[dict[str, Any]]]:
    """The records in the order of the image ids, a batch at a time."""
    batch: list[dict[str, Any]] = []
    ids = plan.found.column("image_id")
    order = sorted(range(len(ids)), key=ids.__getitem__)
    same = ("image_id", "pixels_digest", "rows", "columns", "channels")
    numbers = places_in(plan.volumes)
    planes = {i: volume.plane.upper() for volume in plan.volumes for i in volume.indices}
    labels = [label.label for label in plan.assigned.labels]
    captioner = job.captioner
    said, texts = (*SAID, *(label.name for label in labels)), dict[tuple[Any, ...], tuple[str, ...]]()
    for i, row in zip(order, plan.found.rows(order), strict=True):
        place = (row["shard"], row["shard_row"])
        shard, shard_row = moved.get(place, place)
        record = plan.assigned.record(i, row, job.pseudonyms) | {name: row[name] for name in same}
        if i in numbers:
            record["frame"] = numbers[i]
        if planes.get(i) in VIEWS:
            record.setdefault("view", planes[i])
        if captioner is not None:
            key = tuple(record.get(name) for name in said)
            phrasings = texts.get(key)
            if phrasings is None:
                phrasings = texts[key] = captioner.captions(record, labels, record.get("caption"))
            record["phrasings"] = list(phrasings)
            if not record.get("caption"):
                record["caption"] = choose(row["image_id"], phrasings)
        batch.append(record | {"shard": shard, "shard_row": shard_row})
        if len(batch) == BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


def _compact(partial: Path, found: Survey) -> tuple[list[int], dict[tuple[int, int], tuple[int, int]]]:
    """Writes shards that hold refused images again without them, so that no pixel of these stays in the cohort.

    Returns the shards of the cohort, and the new (shard, row) of every image that moved.
    """
    shards = []
    rows_of: dict[int, list[int]] = {}
    for shard, row in zip(found.column("shard"), found.column("shard_row"), strict=True):
        rows_of.setdefault(shard, []).append(row)
    moved: dict[tuple[int, int], tuple[int, int]] = {}
    for shard, rows in rows_of.items():
        whole = np.load(partial / "images" / shard_name(shard), mmap_mode="r", allow_pickle=False)
        if len(rows) == len(whole):
            shards.append(shard)
            continue
        shards.append(shard + COMPACTED)
        with (
            atomic_path(partial / "images" / shard_name(shard + COMPACTED)) as temporary,
            open(temporary, "wb") as file,
        ):
            np.save(file, whole[sorted(rows)], allow_pickle=False)
        moved |= {(shard, row): (shard + COMPACTED, n) for n, row in enumerate(sorted(rows))}
    return sorted(shards), moved


def _headers(partial: Path, chunks: int, patients: Mapping[str, str | None]) -> str:
    """headers.jsonl: the de-identified headers, one JSON object a line with its image's id, in the order of the ids.

    `patients` gives the patient of each image taken, which a table may have named: the header says the same.
    """
    found: list[tuple[str, str]] = []
    for number in range(chunks):
        part = pq.read_table(part_path(partial, number), columns=["image_id", "header"])
        for row in part.to_pylist():
            if row["header"] is not None and row["image_id"] in patients:
                header = json.loads(row["header"])
                header["00100020"] = {"vr": "LO", "Value": [patients[row["image_id"]]]}
                line = json.dumps({"image_id": row["image_id"], "header": header}, sort_keys=True)
                found.append((row["image_id"], line + "\n"))
    return "".join(line for _, line in sorted(found))


def _duplicates_csv(plan: Plan) -> str:
    """duplicates.csv: every pair of near-duplicates by the names of the owner's files."""
    assert plan.alike is not None
    text = io.StringIO()
    text.write(OWNERS)
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("file", "part", "other_file", "other_part", "similarity", "patient", "label"))
    found, parts = plan.found, plan.found.column("part")
    for pair in listed(plan.alike, patients=plan.assigned.patients, labels=plan.assigned.values):
        one, other = pair.first, pair.second
        writer.writerow(
            (found.files[one], parts[one], found.files[other], parts[other], pair.similarity, pair.patient, pair.label)
        )
    return text.getvalue()


def _refused_csv(job: Job, plan: Plan) -> str:
    text = io.StringIO()
    text.write(OWNERS)
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("file", "part", "status", "reason"))
    writer.writerows((item.name, item.part, "refused", item.reason) for item in plan.found.refused)
    writer.writerows((name, "", "ignored", reason) for name, reason in job.listing.ignored)
    writer.writerows((name, "", "ignored", "a table") for name in job.listing.tables)
    writer.writerows((name, "", "absent", "named by the table, not in the folder") for name in plan.table.absent)
    return text.getvalue()
