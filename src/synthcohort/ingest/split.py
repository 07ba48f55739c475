"""Splitting: whole groups to the four roles, stratified by the main label, the same for the same seed.

A *group* is everything that must not be torn apart: the images of a patient, of a lesion or smear, and exact copies.
"""

from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from synthcohort.core.cohort import ROLES
from synthcohort.core.seeds import seed_from

_ROLE_WORDS = {
    "train": "train", "training": "train", "trn": "train", "tr": "train",
    "validation": "validation", "valid": "validation", "val": "validation", "dev": "validation", "tune": "validation",
    "control": "control", "holdout": "control",
    "test": "test", "testing": "test", "tst": "test", "eval": "test",
}  # fmt: skip


def parse_role(value: str) -> str | None:
    """The role a split column's word means, or None."""
    return _ROLE_WORDS.get(str(value).strip().casefold())


@dataclass(frozen=True)
class Group:
    """Images that share a role: their positions, the label value that decides the stratum, and a name to order by."""

    members: tuple[int, ...]
    stratum: str
    name: str


def connected(keys: Sequence[Iterable[Hashable]]) -> list[tuple[int, ...]]:
    """Positions joined by any key they share, directly or through others; each sorted, in order of their first."""
    parent = list(range(len(keys)))

    def root(i: int) -> int:
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = parent[i]
        return i

    first: dict[Hashable, int] = {}
    for position, own in enumerate(keys):
        for key in own:
            if key in first:
                a, b = sorted((root(first[key]), root(position)))
                parent[b] = a
            else:
                first[key] = position
    components = defaultdict(list)
    for position in range(len(keys)):
        components[root(position)].append(position)
    return [tuple(components[r]) for r in sorted(components)]


def strata(components: Sequence[tuple[int, ...]], labels: Sequence[object]) -> list[str]:
    """Each group's stratum: the rarest label value among its images, so that rare classes are spread first."""
    counts = Counter(str(label) for label in labels if label is not None)

    def rarest(members: tuple[int, ...]) -> str:
        values = {str(labels[i]) for i in members if labels[i] is not None}
        return min(values, key=lambda value: (counts[value], value)) if values else ""

    return [rarest(members) for members in components]


def allocate(groups: Sequence[Group], shares: Mapping[str, float], seed: int) -> dict[str, str]:
    """A role for every group, by name: in each stratum images are dealt to the role that lacks most.

    What one stratum could not give out evenly is carried to the next, so that the whole comes out even too. Where there
    are groups enough, no role with a share stays empty.
    """
    total = sum(shares.values())
    wanted = {role: shares[role] / total for role in ROLES if shares.get(role, 0.0) > 0}
    by_stratum = defaultdict(list)
    for group in groups:
        by_stratum[group.stratum].append(group)
    lacking = dict.fromkeys(wanted, 0.0)
    roles: dict[str, str] = {}
    for stratum in sorted(by_stratum, key=lambda s: (sum(len(g.members) for g in by_stratum[s]), s)):
        members = by_stratum[stratum]
        for role in wanted:
            lacking[role] += wanted[role] * sum(len(group.members) for group in members)
        for group in sorted(members, key=lambda g: (seed_from("split", seed, g.name), g.name)):
            role = max(wanted, key=lambda r: (lacking[r], wanted[r], r))
            roles[group.name] = role
            lacking[role] -= len(group.members)
    _fill_empty(groups, roles, list(wanted))
    return roles


def _fill_empty(groups: Sequence[Group], roles: dict[str, str], wanted: Sequence[str]) -> None:
    """Gives an empty role the smallest group of the role that has most groups, as long as that one keeps some."""
    for role in wanted:
        counts = Counter(roles.values())
        if counts[role]:
            continue
        richest = max(wanted, key=lambda r: (counts[r], r))
        if counts[richest] < 2:
            return
        own = [group for group in groups if roles[group.name] == richest]
        roles[min(own, key=lambda g: (len(g.members), g.name)).name] = role
