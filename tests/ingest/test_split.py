from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from synthcohort.core.cohort import ROLES
from synthcohort.ingest.split import Group, allocate, connected, parse_role, strata, tangled

SHARES = {"train": 0.65, "validation": 0.10, "control": 0.10, "test": 0.15}


def groups_of(sizes, strata_names=("",)):
    groups, at = [], 0
    for number, size in enumerate(sizes):
        groups.append(Group(tuple(range(at, at + size)), strata_names[number % len(strata_names)], f"g{number}"))
        at += size
    return groups


@given(st.lists(st.lists(st.integers(0, 12), max_size=3), max_size=25))
def test_connected_is_the_finest_partition_that_tears_nothing(keys):
    components = connected(keys)
    assert sorted(i for members in components for i in members) == list(range(len(keys)))
    place = {i: c for c, members in enumerate(components) for i in members}
    for i, own in enumerate(keys):
        for j, others in enumerate(keys):
            if set(own) & set(others):
                assert place[i] == place[j]
    # Slow reference: the transitive closure.
    reach = {i: {i} for i in range(len(keys))}
    for _ in keys:
        for i in reach:
            reach[i] |= {j for k in reach[i] for j in range(len(keys)) if set(keys[k]) & set(keys[j])}
    assert {frozenset(members) for members in components} == {frozenset(r) for r in reach.values()}


@given(st.lists(st.integers(1, 6), min_size=1, max_size=80), st.integers(0, 5))
def test_every_group_gets_one_role_and_shares_are_near(sizes, seed):
    groups = groups_of(sizes, "abc")
    roles = allocate(groups, SHARES, seed)
    assert set(roles) == {group.name for group in groups}
    assert set(roles.values()) <= set(ROLES)
    images = Counter()
    for group in groups:
        images[roles[group.name]] += len(group.members)
    slack = 2 * max(sizes) + 1
    for role, share in SHARES.items():
        assert abs(images[role] - share * sum(sizes)) <= slack
    if len(groups) >= 8:
        assert set(roles.values()) == set(ROLES)


def test_each_stratum_is_spread():
    groups = groups_of([2] * 400, ["common"] * 19 + ["rare"])
    roles = allocate(groups, SHARES, 3)
    for stratum, number in (("common", 380), ("rare", 20)):
        counts = Counter(roles[g.name] for g in groups if g.stratum == stratum)
        for role, share in SHARES.items():
            assert abs(counts[role] - share * number) <= 1.5


def test_same_seed_same_split_whatever_the_order():
    groups = groups_of([1, 2, 3] * 20, "ab")
    assert allocate(groups, SHARES, 1) == allocate(groups[::-1], SHARES, 1)
    assert allocate(groups, SHARES, 1) != allocate(groups, SHARES, 2)


def test_roles_without_a_share_stay_empty_and_few_groups_fill_what_they_can():
    assert set(allocate(groups_of([1] * 30), {"train": 0.5, "test": 0.5}, 0).values()) == {"train", "test"}
    for number in range(4, 9):
        assert set(allocate(groups_of([3] * number), SHARES, 0).values()) == set(ROLES)
    assert len(set(allocate(groups_of([1, 1]), SHARES, 0).values())) == 2
    assert allocate(groups_of([5]), SHARES, 0) == {"g0": "train"}


def test_the_rarest_label_decides_the_stratum():
    labels = [0, 0, 0, 4, 0, None, None]
    assert strata([(0, 1), (2, 3), (4, 5), (6,)], labels) == ["0", "4", "0", ""]


@pytest.mark.parametrize(
    ("word", "role"),
    [("train", "train"), ("Training", "train"), ("VAL", "validation"), ("dev", "validation"), ("Test ", "test"),
     ("holdout", "control"), ("0", None), ("", None)],
)  # fmt: skip
def test_role_words(word, role):
    assert parse_role(word) == role


def test_a_huge_group_goes_where_there_is_room():
    """A group of a fifth of all images fits in training alone, whenever its turn would come."""
    for seed in range(20):
        groups = groups_of([1] * 160 + [40], "ab")
        roles, images = allocate(groups, SHARES, seed), Counter()
        for group in groups:
            images[roles[group.name]] += len(group.members)
        assert roles["g160"] == "train"
        for role, share in SHARES.items():
            assert abs(images[role] - share * 200) <= 1.5


def labeled(number, seed):
    """Patients with two images each, whose labels differ often: five grades, the last ones rare."""
    draw = np.random.default_rng(seed)
    labels = draw.choice(5, 2 * number, p=[0.4, 0.2, 0.25, 0.12, 0.03]).tolist()
    components = [(2 * i, 2 * i + 1) for i in range(number)]
    names = strata(components, labels)
    return labels, [
        Group(members, stratum, f"g{i}", tuple(str(labels[k]) for k in members))
        for i, (members, stratum) in enumerate(zip(components, names, strict=True))
    ]


def errors(groups, roles):
    """Squared distance of every label's count in every role from its share."""
    totals = Counter(label for group in groups for label in group.labels)
    counts = Counter((label, roles[group.name]) for group in groups for label in group.labels)
    return sum((counts[label, role] - share * totals[label]) ** 2 for label in totals for role, share in SHARES.items())


@given(st.integers(10, 120), st.integers(0, 50))
def test_every_label_is_spread_even_where_it_did_not_decide_the_stratum(number, seed):
    _, groups = labeled(number, seed)
    bare = [Group(group.members, group.stratum, group.name) for group in groups]
    even, plain = allocate(groups, SHARES, seed), allocate(bare, SHARES, seed)
    assert errors(groups, even) <= errors(groups, plain)
    for stratum in {group.stratum for group in groups}:  # exchanges leave the strata as they were
        assert Counter(even[g.name] for g in groups if g.stratum == stratum) == Counter(
            plain[g.name] for g in groups if g.stratum == stratum
        )
    assert allocate(groups[::-1], SHARES, seed) == even


def test_small_sets_gain_most():
    before, after = 0.0, 0.0
    for seed in range(10):
        _, groups = labeled(60, seed)
        before += errors(groups, allocate([Group(g.members, g.stratum, g.name) for g in groups], SHARES, seed))
        after += errors(groups, allocate(groups, SHARES, seed))
    assert after < 0.7 * before


def test_a_tangle_of_given_groups_and_near_duplicates_is_seen():
    given = [[("group", i % 20)] for i in range(200)]
    apart = np.random.default_rng(0).permutation(200).reshape(-1, 2)
    tangle = tangled(given, [tuple(sorted(pair)) for pair in apart[:60].tolist()])
    assert tangle is not None
    assert (tangle.images, tangle.given, tangle.alike) == (200, 10, 2)
    assert tangle.joined > 100
    within = [(i, i + 20) for i in range(20)]
    assert tangled(given, within) is None  # near-duplicates that respect the groups
    assert tangled([[("patient", 0)] for _ in range(10)], [(0, 1)]) is None  # not the near-duplicates' doing
    assert tangled([], []) is None
