"""Splitting: whole groups to the four roles, stratified by the main label, the same for the same seed.

A *group* is everything that must not be torn apart: the images of a patient, of a lesion or smear, exact copies and
near-duplicates.
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

TANGLED = 0.5  # share of the images that given groups and near-duplicates may tie together
MOST_KINDS = 200  # of groups of one stratum and size; with more, chance has spread them


def parse_role(value: str) -> str | None:
    """The role a split column's word means, or None."""
    return _ROLE_WORDS.get(str(value).strip().casefold())


@dataclass(frozen=True)
class Group:
    """Images that share a role: their positions, the label value that decides the stratum, and a name to order by.

    `labels` are the label values of all members (missing ones left out); with them, values that did not decide the
    stratum are spread evenly too.
    """

    members: tuple[int, ...]
    stratum: str
    name: str
    labels: tuple[str, ...] = ()


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


@dataclass(frozen=True)
class Tangle:
    """Given groups and near-duplicates that together leave nothing to split: images of the largest group of each."""

    images: int
    given: int
    alike: int
    joined: int


def tangled(
    given: Sequence[Iterable[Hashable]], alike: Sequence[tuple[int, ...]], largest_share: float = TANGLED
) -> Tangle | None:
    """Whether near-duplicates (groups of positions) tie the given groups together, although each alone would split.

    That happens when a column that seems to name groups names something else, so that the same pictures stand under
    many of its values.
    """
    if not alike:
        return None
    near = {i: number for number, members in enumerate(alike) for i in members}
    both = [[*own, *([("near-duplicates", near[i])] if i in near else [])] for i, own in enumerate(given)]
    sizes = [max(map(len, groups), default=0) for groups in (connected(given), alike, connected(both))]
    if sizes[2] <= largest_share * len(given) or sizes[2] <= 2 * max(sizes[:2]):
        return None
    return Tangle(len(given), *sizes)


def strata(components: Sequence[tuple[int, ...]], labels: Sequence[object]) -> list[str]:
    """Each group's stratum: the rarest label value among its images, so that rare classes are spread first."""
    counts = Counter(str(label) for label in labels if label is not None)

    def rarest(members: tuple[int, ...]) -> str:
        values = {str(labels[i]) for i in members if labels[i] is not None}
        return min(values, key=lambda value: (counts[value], value)) if values else ""

    return [rarest(members) for members in components]


def allocate(groups: Sequence[Group], shares: Mapping[str, float], seed: int) -> dict[str, str]:
    """A role for every group, by name: in each stratum images are dealt to the role that lacks most.

    Groups larger than the smallest role, and than twice the usual group, come first, so that none of them fills a role
    that is nearly full. What one stratum could not give out evenly is carried to the next, so that the whole comes out
    even too. Where there are groups enough, no role with a share stays empty.
    """
    total = sum(shares.values())
    wanted = {role: shares[role] / total for role in ROLES if shares.get(role, 0.0) > 0}
    order = {group.name: (seed_from("split", seed, group.name), group.name) for group in groups}
    images = sum(len(group.members) for group in groups)
    lacking = {role: share * images for role, share in wanted.items()}
    roles: dict[str, str] = {}

    def deal(group: Group) -> None:
        roles[group.name] = role = max(wanted, key=lambda r: (lacking[r], wanted[r], r))
        lacking[role] -= len(group.members)

    most = max(min(wanted.values()) * images, 2 * images / max(1, len(groups)))
    huge = {group.name for group in groups if len(group.members) > most}
    for group in sorted((g for g in groups if g.name in huge), key=lambda g: (-len(g.members), order[g.name])):
        deal(group)
    # What the huge groups took too much of is missing from the others' share of every stratum.
    lacking = {role: lacking[role] - share * images for role, share in wanted.items()}
    by_stratum = defaultdict(list)
    for group in groups:
        by_stratum[group.stratum].append(group)
    for stratum in sorted(by_stratum, key=lambda s: (sum(len(g.members) for g in by_stratum[s]), s)):
        members = by_stratum[stratum]
        for role in wanted:
            lacking[role] += wanted[role] * sum(len(group.members) for group in members)
        for group in sorted((g for g in members if g.name not in huge), key=lambda g: order[g.name]):
            deal(group)
    _even_out(groups, roles, wanted, order)
    _fill_empty(groups, roles, list(wanted))
    return roles


def _even_out(
    groups: Sequence[Group], roles: dict[str, str], wanted: Mapping[str, float], order: Mapping[str, tuple[int, str]]
) -> None:
    """Exchanges groups of one stratum and size while that brings every label value nearer to the roles' shares.

    The strata and the sizes of the roles stay as they are.
    """
    labels = sorted({label for group in groups for label in group.labels})
    if len(labels) < 2:
        return
    column = {label: k for k, label in enumerate(labels)}
    totals = Counter(label for group in groups for label in group.labels)
    over = {role: [-share * totals[label] for label in labels] for role, share in wanted.items()}
    kinds: dict[tuple[str, int], dict[tuple[int, ...], dict[str, list[str]]]] = {}
    for group in sorted(groups, key=lambda g: order[g.name]):
        counts = Counter(group.labels)
        for label, count in counts.items():
            over[roles[group.name]][column[label]] += count
        by_vector = kinds.setdefault((group.stratum, len(group.members)), {})
        alike = by_vector.setdefault(tuple(counts[label] for label in labels), {})
        alike.setdefault(roles[group.name], []).append(group.name)
    for stratum in sorted(kinds):
        while exchange := _best_exchange(kinds[stratum], over):
            (one, here), (other, there) = exchange
            names = kinds[stratum][one][here].pop(0), kinds[stratum][other][there].pop(0)
            for name, vector, start, end in ((names[0], one, here, there), (names[1], other, there, here)):
                roles[name] = end
                kinds[stratum][vector].setdefault(end, []).append(name)
                for k, count in enumerate(vector):
                    over[start][k] -= count
                    over[end][k] += count


def _best_exchange(
    kinds: Mapping[tuple[int, ...], Mapping[str, Sequence[str]]], over: Mapping[str, Sequence[float]]
) -> tuple[tuple[tuple[int, ...], str], tuple[tuple[int, ...], str]] | None:
    """The exchange of two groups, each by its labels' counts and its role, that lowers the squared errors most."""
    best, least = None, -1e-6
    held = [(vector, role) for vector, by_role in kinds.items() for role, names in by_role.items() if names]
    if len(held) > MOST_KINDS:
        return None
    for one, here in held:
        for other, there in held:
            if here < there and one != other:
                change = [b - a for a, b in zip(one, other, strict=True)]  # what the first role gains
                gain = 2 * sum(d * (d + over[here][k] - over[there][k]) for k, d in enumerate(change))
                if gain < least:
                    best, least = ((one, here), (other, there)), gain
    return best


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
