"""Near-duplicates: the same picture turned, mirrored, cropped, resized, re-encoded or brightened, and its groups.

Two images are near-duplicates when, laid over each other, their fine detail correlates by THRESHOLD or more
(docs/decisions/0017-near-duplicates.md says where the number comes from). Groups are what such pairs connect. The
result depends on the images alone, not on their order.

A *chain* is a group that holds much of the data set although most of its members do not look like its center: neighbor
resembles neighbor and the ends are strangers. It is held to a stricter threshold, and that is reported. A *family* is
a group whose members do look like its center; it stays whole however large it is.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from synthcohort.imaging.fingerprint import SIDE
from synthcohort.ingest.near_duplicate_search import compare, find_candidates, verify
from synthcohort.ingest.near_duplicate_views import Means, Views, describe, make_views

THRESHOLD = 0.84
STRICTER = (0.87, 0.90, 0.93, 0.96, 0.98)  # for chains, one after the other
LARGEST_SHARE = 0.2  # of the images, that a group which is no family may hold
LEAST_CHAIN = 20  # images; smaller groups are left alone in small data sets too
RESEMBLING = 0.08  # below the threshold, a member still resembles the center of its family
ASKED = 64  # members compared with the center
ROUNDS = 4
CROWDED = 4  # members of a group from which on they may have taken up each other's places among the candidates
ASPECTS_DIFFER = 0.04  # log2 of columns / rows


@dataclass(frozen=True)
class Chain:
    """A group that was held to a stricter threshold: its images, the threshold, what became of it."""

    images: int
    threshold: float
    largest: int  # images of the largest group it fell into
    satisfied: bool  # False: even the strictest threshold left a chain larger than allowed


@dataclass(frozen=True)
class NearDuplicates:
    """What was found among N images; positions are those of the arrays given.

    pairs, similarity   [P, 2] int64 with the smaller position first, sorted; [P] float32 in [threshold, 1]
    groups              positions of two or more images each, sorted; pairs lie within groups
    cut                 [Q, 2] pairs at or above `threshold` that were given up to break chains: not in groups
    families            sizes of groups that hold more than the largest share and stay whole
    blank               images with too little in them to be recognized: in no group
    """

    pairs: np.ndarray
    similarity: np.ndarray
    groups: tuple[tuple[int, ...], ...]
    images: int
    threshold: float
    cut: np.ndarray
    chains: tuple[Chain, ...] = ()
    families: tuple[int, ...] = ()
    blank: int = 0


def find_groups(
    vectors: np.ndarray,
    thumbnails: np.ndarray,
    threshold: float = THRESHOLD,
    largest_share: float = LARGEST_SHARE,
    *,
    workers: int = 0,
    folder: Path | None = None,
) -> NearDuplicates:
    """Near-duplicates among images by their fingerprints: vectors [N, 1] float16, thumbnails [N, 48, 48] uint8.

    Both may be memory-mapped. Every image is compared with every other; time grows with N squared. `workers`
    processes (0: one a processor) do it with the same result; about 9 kB an image and 40 bytes a candidate are kept in
    files without names in `folder` (None: the system's for temporary files). Raises OSError when the disk is full.
    """
    if len(vectors) != len(thumbnails) or thumbnails.shape[1:] != (SIDE, SIDE):
        raise ValueError(f"vectors {vectors.shape} and thumbnails {thumbnails.shape} are no fingerprints of N images")
    with threadpool_limits(1, "blas"):  # the products are small, and their rounding must not depend on the machine
        return _found(vectors, thumbnails, threshold, largest_share, Means(workers, folder))


def _found(
    vectors: np.ndarray, thumbnails: np.ndarray, threshold: float, largest_share: float, means: Means
) -> NearDuplicates:
    first, same_as = _distinct(vectors, thumbnails)
    sizes = np.bincount(same_as, minlength=len(first))
    views, pairs, similarity = _all_pairs(vectors, thumbnails, first, threshold, means)
    kept, chains, families = _broken_chains(views, pairs, similarity, sizes, threshold, largest_share, means)
    # Identical thumbnails are one picture, unless they show nothing.
    again = np.flatnonzero((first[same_as] != np.arange(len(same_as))) & views.recognizable[same_as])
    twins = [(*pair, 1.0) for pair in np.stack([first[same_as[again]], again], 1).tolist()]
    found = [
        (*sorted(pair), value)
        for pair, value in zip(first[pairs[kept]].tolist(), similarity[kept].tolist(), strict=True)
    ]
    every = sorted([*found, *twins])
    cut = np.sort(first[pairs[~kept]], axis=1)
    result = np.array([pair[:2] for pair in every], np.int64).reshape(-1, 2)
    label = _components(len(same_as), result)
    return NearDuplicates(
        pairs=result,
        similarity=np.round(np.array([pair[2] for pair in every], np.float32), 4),
        groups=_groups(label),
        images=len(same_as),
        threshold=threshold,
        cut=cut[np.lexsort((cut[:, 1], cut[:, 0]))],
        chains=chains,
        families=families,
        blank=int(sizes[~views.recognizable].sum()),
    )


def _distinct(vectors: np.ndarray, thumbnails: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """First positions of distinct fingerprints, ordered by content so that the images' order does not matter, and whose
    fingerprint each image has: [M] and [N] int64."""
    digests = np.empty(len(vectors), "S32")
    for i in range(len(vectors)):
        content = np.asarray(vectors[i]).tobytes() + np.asarray(thumbnails[i]).tobytes()
        digests[i] = hashlib.blake2b(content, digest_size=16).hexdigest()
    _, first, same_as = np.unique(digests, return_index=True, return_inverse=True)
    return first.astype(np.int64), same_as.reshape(-1).astype(np.int64)


def _all_pairs(
    vectors: np.ndarray, thumbnails: np.ndarray, order: np.ndarray, threshold: float, means: Means
) -> tuple[Views, np.ndarray, np.ndarray]:
    """Pairs among the central squares, and where shapes differ among the stretched images too: a copy that was made
    square looks like its original when both are stretched."""
    aspects = np.asarray(vectors, np.float32)[order, 0] if len(order) else np.zeros(0, np.float32)
    views = make_views(thumbnails, order, aspects, means)
    everybody = np.flatnonzero(views.recognizable)
    pairs, similarity = _rounds(views, everybody, np.arange(len(order)), threshold, means)
    if len(order) and float(np.ptp(aspects)) > ASPECTS_DIFFER:
        steps = np.round(aspects / ASPECTS_DIFFER).astype(int)
        names, counts = np.unique(steps, return_counts=True)
        usual = names[counts.argmax()]
        stretched = make_views(thumbnails, order, None, means)
        unusual = np.flatnonzero(stretched.recognizable & (steps != usual))
        more = _rounds(stretched, unusual, _components(len(order), pairs), threshold, means)
        pairs, similarity = _merged([(pairs, similarity), more])
    return views, pairs, similarity


def _rounds(
    views: Views, queries: np.ndarray, group_of: np.ndarray, threshold: float, means: Means
) -> tuple[np.ndarray, np.ndarray]:
    """Searches, then searches again for the members of crowded groups, past their own group, until nothing joins."""
    found = [(np.zeros((0, 2), np.int64), np.zeros(0, np.float32))]
    if len(views) < 2 or not len(queries):
        return found[0]
    described = describe(views, means)
    joined = np.stack([group_of, np.arange(len(views))], 1)  # each image with its group's number as a further node
    for _ in range(ROUNDS):
        likely = find_candidates(views, described, queries, group_of, means)
        found.append(verify(views, described, likely, threshold, means))
        before = len(np.unique(group_of))
        links = np.concatenate([joined + [len(views), 0], *(pairs for pairs, _ in found)])
        group_of = _components(2 * len(views), links)[: len(views)]
        names, back, counts = np.unique(group_of, return_inverse=True, return_counts=True)
        queries = queries[counts[back][queries] >= CROWDED]
        if len(names) == before or not len(queries):
            break
    return _merged(found)


def _merged(found: Sequence[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of several searches, each once with its largest similarity."""
    pairs = np.concatenate([pairs for pairs, _ in found])
    similarity = np.concatenate([values for _, values in found])
    order = np.lexsort((-similarity, pairs[:, 1], pairs[:, 0]))
    pairs, similarity = pairs[order], similarity[order]
    new = np.ones(len(pairs), bool)
    new[1:] = (pairs[1:] != pairs[:-1]).any(1)
    return pairs[new], similarity[new]


def _components(count: int, pairs: np.ndarray) -> np.ndarray:
    """The smallest position in each position's connected component: [count].

    Of two components that touch, the one with the larger name takes the other's, until none touch: at least half of
    those that touch vanish each time. (scipy does it too, but takes a third of a second to be imported.)
    """
    label = np.arange(count)
    a, b = np.asarray(pairs, np.int64).reshape(-1, 2).T
    while True:
        own, their = label[a], label[b]
        apart = own != their
        if not apart.any():
            return label
        a, b = a[apart], b[apart]
        np.minimum.at(label, np.maximum(own, their)[apart], np.minimum(own, their)[apart])
        while (label != label[label]).any():
            label = label[label]


def _groups(label: np.ndarray) -> tuple[tuple[int, ...], ...]:
    """Positions of components with at least two members, sorted, in order of their first."""
    order = np.argsort(label, kind="stable")
    starts = np.flatnonzero(np.diff(label[order])) + 1
    parts = (part for part in np.split(order, starts) if len(part) > 1)
    return tuple(sorted(tuple(part.tolist()) for part in parts))


def _broken_chains(
    views: Views,
    pairs: np.ndarray,
    similarity: np.ndarray,
    sizes: np.ndarray,
    threshold: float,
    largest_share: float,
    means: Means,
) -> tuple[np.ndarray, tuple[Chain, ...], tuple[int, ...]]:
    """Which pairs stay [P], the chains that were broken, and the sizes of the large families that were not."""
    allowed = max(largest_share * sizes.sum(), LEAST_CHAIN - 1)
    kept = np.ones(len(pairs), bool)
    chains: list[Chain] = []
    families: list[int] = []

    def too_large(inside: np.ndarray) -> tuple[list[np.ndarray], int]:
        """Chains among the components of these pairs that hold more than allowed, and the largest component."""
        large, largest = [], 0
        for group in _groups(_components(len(views), pairs[inside])):
            images = int(sizes[list(group)].sum())
            largest = max(largest, images)
            if images > allowed:
                member = np.zeros(len(views), bool)
                member[list(group)] = True
                own = inside[member[pairs[inside][:, 0]]]
                if not _is_family(views, pairs[own], group, threshold, means):
                    large.append(own)
                else:
                    families.append(images)
        return large, largest

    for own in too_large(np.arange(len(pairs)))[0]:
        images = int(sizes[np.unique(pairs[own])].sum())
        before = list(families)
        for stricter in STRICTER:
            families[:] = before
            rest = own[similarity[own] >= stricter]
            still, largest = too_large(rest)
            if not still:
                break
        kept[own[similarity[own] < stricter]] = False
        chains.append(Chain(images, stricter, max(largest, 1), not still))
    return kept, tuple(chains), tuple(sorted(families, reverse=True))


def _is_family(views: Views, pairs: np.ndarray, group: Sequence[int], threshold: float, means: Means) -> bool:
    """Whether most of a group's members resemble its center, the member with the most near-duplicates."""
    members = np.array(group)
    degree = np.bincount(pairs.ravel(), minlength=len(views))[members]
    center = int(members[degree.argmax()])
    others = members[members != center]
    asked = others[np.linspace(0, len(others) - 1, min(ASKED, len(others))).astype(int)]
    alike = compare(views, np.full(len(asked), center), asked, means)
    return float(np.median(alike)) >= threshold - RESEMBLING
