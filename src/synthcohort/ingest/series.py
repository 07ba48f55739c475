"""The volumes of a cohort: slices assembled from the journal, the rule for slices, the file that tells of them."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from synthcohort.core.cohort import VOLUMES_FORMAT, VOLUMES_VERSION
from synthcohort.core.errors import InputError
from synthcohort.core.files import artifact_text
from synthcohort.formats.image import Place
from synthcohort.ingest.stacks import SliceRecord
from synthcohort.ingest.survey import Survey
from synthcohort.ingest.volumes import LEAST_SLICES, Volume, affine_lps, assemble, pick, volume_report

LEFT_OUT = "left out by ingest.slices"


AMBIGUOUS = "ambiguous repetitions"  # a finding of `volumes`
FRAMES = 2**20  # numbers of frames that belong to one Instance Number


def volumes_of(survey: Survey) -> list[Volume]:
    """Volumes of the images that have a place in a series.

    With them those that nothing tells apart: they are counted, but no volume is written for them (`is_certain`).
    """
    names = (
        "series", "position_mm", "orientation", "rows", "columns", "pixel_spacing_mm", "frame", "content_digest",
        "number", "stack",
    )  # fmt: skip
    records = []
    for i, (series, position, orientation, rows, columns, spacing, frame, digest, number, stack) in enumerate(
        zip(*(survey.column(name) for name in names), strict=True)
    ):
        if series is None or position is None:
            continue
        records.append(
            SliceRecord(
                i,
                series,
                Place(tuple(position), tuple(orientation)),
                (rows, columns),
                tuple(spacing) if spacing else None,
                tuple(stack or ()),
                None if number is None and frame is None else (number or 0) * FRAMES + (frame or 0),
                digest,
            )
        )
    return assemble(_keyed(records)) if records else []


def is_certain(volume: Volume) -> bool:
    """Whether its slices belong together; at ambiguous repetitions it is a guess which of several does."""
    return all(finding.kind != AMBIGUOUS for finding in volume.findings)


def _keyed(records: Sequence[SliceRecord]) -> list[SliceRecord]:
    """Slices with those numbers of their stack as key that may tell the volumes of their series apart.

    A number does when it differs at one place and each of its values has slices enough for a volume. Scanners count
    acquisitions by slice as well, and such a number would take volumes to pieces.
    """
    by_series: dict[str, list[SliceRecord]] = defaultdict(list)
    for item in records:
        by_series[item.series_id].append(item)
    found = []
    for slices in by_series.values():
        width = min(len(item.key) for item in slices)
        used = [j for j in range(width) if _tells_apart(slices, j)]
        found += [replace(item, key=tuple(item.key[j] for j in used)) for item in slices]
    return found


def _tells_apart(slices: Sequence[SliceRecord], j: int) -> bool:
    values = {item.key[j] for item in slices}
    if len(values) == 1 or len(values) * LEAST_SLICES > len(slices):
        return False
    at: dict[Place | None, set[float]] = defaultdict(set)
    for item in slices:
        at[item.place].add(item.key[j])
    return any(len(own) > 1 for own in at.values())


def left_out(survey: Survey, volumes: Sequence[Volume], rule: str) -> dict[int, str]:
    """Slices that the rule does not take, of volumes whose slices are files; readers apply it to files of many."""
    frames = survey.column("frame")
    refused: dict[int, str] = {}
    for volume in volumes:
        if len(volume.indices) >= LEAST_SLICES and all(frames[i] is None for i in volume.indices):
            taken = set(pick(volume, rule))
            refused |= dict.fromkeys((i for i in (*volume.indices, *volume.set_aside) if i not in taken), LEFT_OUT)
    return refused


def places_in(volumes: Sequence[Volume]) -> dict[int, int]:
    """The number of each slice in its volume, from 0, by its position in the survey."""
    return {i: number for volume in volumes if is_certain(volume) for number, i in enumerate(volume.indices)}


def summary(volumes: Sequence[Volume]) -> dict[str, Any]:
    """Counts for the result and the profile."""
    report = volume_report(volumes)
    return {name: report[name] for name in ("series", "volumes", "regular", "slices", "set_aside", "findings")}


def volumes_file(volumes: Sequence[Volume], image_ids: Sequence[str]) -> str:
    """volumes.json: every certain volume with its images in order and, where it lies on a lattice, its affine."""
    each = volume_report(volumes)["each"]
    content = [
        {**said, "image_ids": [image_ids[i] for i in volume.indices], "affine_lps": _affine(volume)}
        for volume, said in zip(volumes, each, strict=True)
        if is_certain(volume)
    ]
    return artifact_text(VOLUMES_FORMAT, VOLUMES_VERSION, {"volumes": content})


def _affine(volume: Volume) -> list[list[float]] | None:
    try:
        return [[float(x) for x in row] for row in affine_lps(volume)]
    except InputError:
        return None
