"""Leakage: what near-duplicates mean for a split, in counts that may travel and in pairs that are the owner's."""

from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

from synthcohort.ingest.near_duplicates import NearDuplicates

Relation = Literal["same", "other", "unknown"]
_SIZES = ((2, 2, "2"), (3, 4, "3 to 4"), (5, 9, "5 to 9"), (10, 49, "10 to 49"), (50, None, "50 or more"))


@dataclass(frozen=True)
class Pair:
    """One near-duplicate pair for the owner's list: positions, and how the two stand to each other."""

    first: int
    second: int
    similarity: float
    patient: Relation
    label: Relation


def leakage(
    found: NearDuplicates,
    roles: Sequence[str],
    *,
    patients: Sequence[Hashable | None],
    labels: Sequence[Hashable | None],
    roles_ungrouped: Sequence[str] | None = None,
) -> dict[str, Any]:
    """Counts for the report, of all images in the order that `found` speaks of; no value of any patient.

    `roles_ungrouped` are the roles of a split made without the near-duplicates: what would have crossed. None of a
    cohort's `crossing` pairs may be left when its near-duplicates are kept together.
    """
    for name, values in (("roles", roles), ("patients", patients), ("labels", labels)):
        if len(values) != found.images:
            raise ValueError(f"{len(values)} {name} for {found.images} images")
    pairs = listed(found, patients=patients, labels=labels)
    by_patient, by_label = Counter(pair.patient for pair in pairs), Counter(pair.label for pair in pairs)
    sizes = [len(members) for members in found.groups]
    return {
        "images": found.images,
        "threshold": found.threshold,
        "pairs": len(pairs),
        "groups": len(found.groups),
        "grouped_images": sum(sizes),
        "sizes": {name: sum(low <= n <= (high or n) for n in sizes) for low, high, name in _SIZES},
        "largest": max(sizes, default=0),
        "pairs_by_patient": {relation: by_patient[relation] for relation in ("same", "other", "unknown")},
        "pairs_by_label": {relation: by_label[relation] for relation in ("same", "other", "unknown")},
        "groups_of_several_patients": _groups_of_several(found, patients),
        "groups_of_several_labels": _groups_of_several(found, labels),
        "crossing": _crossing(found.pairs, roles),
        "would_have_crossed": _crossing(found.pairs, roles_ungrouped) if roles_ungrouped is not None else None,
        "given_up": {"pairs": len(found.cut), "crossing": _crossing(found.cut, roles)},
        "chains": [asdict(chain) for chain in found.chains],
        "families": list(found.families),
        "blank": found.blank,
    }


def listed(
    found: NearDuplicates, *, patients: Sequence[Hashable | None], labels: Sequence[Hashable | None]
) -> list[Pair]:
    """Every pair, for the owner's own file: positions say whose images they are."""
    return [
        Pair(i, j, round(float(value), 4), _relation(patients[i], patients[j]), _relation(labels[i], labels[j]))
        for (i, j), value in zip(found.pairs.tolist(), found.similarity, strict=True)
    ]


def said(report: Mapping[str, Any]) -> list[str]:
    """What the owner must know, in sentences."""
    sentences = []
    if report["pairs_by_patient"]["other"]:
        groups = report["groups_of_several_patients"]
        sentences.append(
            f"{report['pairs_by_patient']['other']} pairs of near-duplicates lie across patients ({groups} groups): "
            "one picture under two ids, or one person; see the owner's list"
        )
    if report["pairs_by_label"]["other"]:
        sentences.append(
            f"{report['pairs_by_label']['other']} pairs of near-duplicates have different labels "
            f"({report['groups_of_several_labels']} groups): one of the labels is wrong, or the two are not quite the "
            "same, as the two sides of one body, mirrored; see the owner's list"
        )
    for chain in report["chains"]:
        broken = "" if chain["satisfied"] else ", and still it holds more than it may"
        sentences.append(
            f"{chain['images']} images form a chain in which neighbors are alike and the ends are not: held to a "
            f"similarity of {chain['threshold']:.2f}, its largest group has {chain['largest']} images{broken}"
        )
    if report["given_up"]["crossing"]["pairs"]:
        sentences.append(
            f"{report['given_up']['crossing']['pairs']} pairs that were given up to break chains lie in two roles: "
            "scores on this cohort may be a little too good"
        )
    for images in report["families"]:
        sentences.append(f"{images} images are copies of one picture and share a role")
    if report["crossing"]["pairs"]:
        sentences.append(
            f"{report['crossing']['pairs']} pairs of near-duplicates lie in two roles, {report['crossing']['images']} "
            "images in all: scores and privacy findings on this cohort are weaker for it"
        )
    return sentences


def _relation(one: Hashable | None, other: Hashable | None) -> Relation:
    if one is None or other is None:
        return "unknown"
    return "same" if one == other else "other"


def _groups_of_several(found: NearDuplicates, values: Sequence[Hashable | None]) -> int:
    """Groups whose images have at least two different known values."""
    return sum(len({values[i] for i in members} - {None}) > 1 for members in found.groups)


def _crossing(pairs: np.ndarray, roles: Sequence[str]) -> dict[str, int]:
    """Pairs whose images have different roles, and the images in such pairs."""
    crossing = [(i, j) for i, j in pairs.tolist() if roles[i] != roles[j]]
    return {"pairs": len(crossing), "images": len({i for pair in crossing for i in pair})}
