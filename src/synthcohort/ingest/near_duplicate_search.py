"""The search behind near-duplicates: every image against every other, then registration of the likeliest pairs.

1. *Candidates*: invariants of the image and of eight squares cut out of it (what crops look like) against the
   invariants of every other image, by blocked matrix products; the nearest few dozen of each image.
2. *Turns*: the best rotation and mirror of each candidate, from the harmonics.
3. *Registration*, coarse then fine: the similarity is the correlation of fine detail where both show something.

Everything is done in blocks of images or pairs, none of which needs another of the same step.
"""

from dataclasses import dataclass

import numpy as np

from synthcohort.core.progress import progress
from synthcohort.imaging.align import Templates, best_turns, make_templates, register, similarity_transforms
from synthcohort.imaging.fingerprint import COEFFICIENTS, unpacked
from synthcohort.ingest.near_duplicate_views import (
    SQUARES,
    Described,
    Means,
    Views,
    harmonics_of_images,
    harmonics_of_squares,
)

CANDIDATES = 48  # of an image, by invariants
TURNED = 24  # of them, registered coarsely
AGAIN = 2  # of them, registered again from the start when the first try led nowhere
FINAL, FINAL_BY_TURN = 4, 2  # of them, registered finely: by coarse correlation, and by the turn's
LEAST_TURN, LEAST_COARSE, LEAST_FINE = 0.4, 0.5, 0.6  # correlations below which a pair is given up
MASKED = -2.0  # a product below all others
ROWS, COLUMNS = 128, 1024  # of a block of the search
SPAN = 8192  # images whose pairs are put in order together
PAIRS = 1024  # pairs described or turned together
WIDTH = 16  # partners of an image that are compared with it at once
TOGETHER = {24: 256, 48: 64}  # registrations made together, by the size of the views: what a processor's cache holds
REGISTERED = 128  # pairs registered coarsely, each once or twice, before others are taken
COARSE_STEPS = 1
DOUBT = 0.2  # a mirror image whose turn is worse by no more than this is tried too


@dataclass(frozen=True)
class Likely:
    """Pairs worth a look: query, other, the square of the query that the other may show, and how alike they seem."""

    query: np.ndarray  # [P] int32
    other: np.ndarray  # [P] int32
    square: np.ndarray  # [P] int8
    alike: np.ndarray  # [P] float32

    def __len__(self) -> int:
        return len(self.query)

    def at(self, chosen: np.ndarray, means: Means) -> "Likely":
        return Likely(*(means.taken(part, chosen) for part in (self.query, self.other, self.square, self.alike)))


def find_candidates(
    views: Views, described: Described, queries: np.ndarray, group_of: np.ndarray, means: Means
) -> Likely:
    """The nearest images of each query by invariants, none of its own group and none that shows nothing.

    Each pair comes once, from the side whose square says more.
    """
    nearest = means.array((len(queries), min(CANDIDATES, len(views) - 1)), np.int32)
    groups, hidden = group_of.astype(np.int32), ~views.recognizable

    def search(start: int) -> None:
        rows = slice(start, start + ROWS)
        _nearest(described, queries[rows], hidden, groups, out=nearest[rows])

    with progress(len(queries), "near-duplicates") as advance:
        blocks = range(0, len(queries), ROWS)
        means.do(search, blocks, lambda count: advance(count * len(queries) // len(blocks)))
    return _directed(described, *_pairs(queries, nearest, len(views), means), means)


def _nearest(described: Described, own: np.ndarray, hidden: np.ndarray, groups: np.ndarray, out: np.ndarray) -> None:
    """Writes the images nearest to any square of these: positions [Q, K], -1 where there are no more."""
    (Q, K), cut = out.shape, np.ascontiguousarray(described.squares[own].transpose(1, 0, 2))
    where, best = np.full((Q, K), -1, np.int32), np.full((Q, K), MASKED, np.float32)
    least = best[:, :1]
    mine = groups[own][:, None]
    for start in range(0, len(hidden), COLUMNS):
        columns = slice(start, start + COLUMNS)
        block = described.whole[columns].T
        alike = cut[0] @ block
        another = np.empty_like(alike)
        for square in cut[1:]:
            np.maximum(alike, np.matmul(square, block, out=another), out=alike)
        if hidden[columns].any():
            alike[:, hidden[columns]] = MASKED
        alike[mine == groups[columns]] = MASKED
        if start:  # few of the others are nearer than the nearest so far
            row, column = np.nonzero(alike > least)
            count = np.bincount(row, minlength=Q)
            more = int(count.max())
            place = K + np.arange(len(row)) - np.repeat(np.cumsum(count) - count, count)
            values, positions = np.full((Q, K + more), MASKED, np.float32), np.full((Q, K + more), -1, np.int32)
            values[:, :K], positions[:, :K] = best, where
            values[row, place], positions[row, place] = alike[row, column], column + start
            top = np.argpartition(values, more, axis=1)[:, more:]
            best, where = np.take_along_axis(values, top, 1), np.take_along_axis(positions, top, 1)
        else:
            few = min(K, alike.shape[1])
            top = np.argpartition(alike, alike.shape[1] - few, axis=1)[:, alike.shape[1] - few :]
            best[:, :few] = np.take_along_axis(alike, top, 1)
            where[:, :few] = np.where(best[:, :few] > MASKED, top, -1)
        least = best.min(1, keepdims=True)
    out[:] = where


def _pairs(queries: np.ndarray, nearest: np.ndarray, N: int, means: Means) -> tuple[np.ndarray, np.ndarray]:
    """Queries and their nearest as pairs, each once, smaller position first, sorted: [P] and [P] int32."""
    a, b = (means.array((nearest.size,), np.int32) for _ in range(2))
    filled = 0
    for low in range(0, N, SPAN):
        keys = [np.zeros(0, np.int64)]
        for start in range(0, len(queries), SPAN):
            own, their = queries[start : start + SPAN, None], nearest[start : start + SPAN]
            small = np.minimum(own, their)
            here = (small >= low) & (small < low + SPAN)
            keys.append(small[here] * N + np.maximum(own, their)[here])
        key = np.unique(np.concatenate(keys))
        rows = slice(filled, filled + len(key))
        a[rows], b[rows] = key // N, key % N
        filled += len(key)
    return a[:filled], b[:filled]


def _ordered(owner: np.ndarray, N: int, means: Means) -> np.ndarray:
    """Positions of pairs in the order of their owners among N images: [P] int32."""
    result, filled = means.array((len(owner),), np.int32), 0
    for low in range(0, N, SPAN):
        rows = np.flatnonzero((owner >= low) & (owner < low + SPAN))
        result[filled : filled + len(rows)] = rows[np.argsort(owner[rows], kind="stable")]
        filled += len(rows)
    return result


def _directed(described: Described, a: np.ndarray, b: np.ndarray, means: Means) -> Likely:
    """Which image of each pair shows the other in which of its squares: the likeliest of all."""
    P, N = len(a), len(described.whole)
    square, alike = means.array((P,), np.int8), means.array((P,), np.float32)
    query, other = means.array((P,), np.int32), means.array((P,), np.int32)

    def forth(start: int) -> None:
        rows = slice(start, start + PAIRS)
        query[rows], other[rows] = a[rows], b[rows]
        square[rows], alike[rows] = _best_square(described, a[rows], b[rows])

    order = _ordered(b, N, means)

    def back(start: int) -> None:
        rows = order[start : start + PAIRS]
        best, value = _best_square(described, b[rows], a[rows])
        # Whole against whole is the same both ways, but for rounding: the smaller position is the query then.
        better = (value > alike[rows]) & ((best > 0) | (square[rows] > 0))
        rows = rows[better]
        query[rows], other[rows], square[rows], alike[rows] = b[rows], a[rows], best[better], value[better]

    means.do(forth, range(0, P, PAIRS))
    means.do(back, range(0, P, PAIRS))
    return Likely(query, other, square, alike)


def _best_square(described: Described, own: np.ndarray, their: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Which square of `own` (in order) is most like the other whole image, and how alike they are: [P] each."""
    P = len(own)
    first = np.flatnonzero(np.append(True, own[1:] != own[:-1]))
    place = np.arange(P) - np.repeat(first, np.diff(np.append(first, P)))
    part = np.cumsum(place % WIDTH == 0) - 1
    partners = np.zeros((part[-1] + 1, WIDTH), np.int32)
    partners[part, place % WIDTH] = their
    squares = described.squares[own[place % WIDTH == 0]]
    values = (described.whole[partners] @ squares.transpose(0, 2, 1))[part, place % WIDTH]
    best = values.argmax(1)
    return best.astype(np.int8), values[np.arange(P), best]


def verify(
    views: Views, described: Described, likely: Likely, least: float, means: Means
) -> tuple[np.ndarray, np.ndarray]:
    """Pairs [P, 2] (smaller position first, sorted) whose similarity [P] is at least `least`."""
    N = len(views)
    correlation, angle = _turns(views, described, likely, means)
    by_turn = correlation.max(1)
    best = _among_best(likely, by_turn + likely.alike, TURNED, N, means)
    chosen = np.flatnonzero(best & (by_turn >= LEAST_TURN))
    pairs, by_turn = likely.at(chosen, means), by_turn[chosen]
    correlation, angle = means.taken(correlation, chosen), means.taken(angle, chosen)
    transforms, coarse = _coarsely(views, described.templates, pairs, (correlation, angle), COARSE_STEPS, DOUBT, means)
    final = _among_best(pairs, coarse, FINAL, N, means) | _among_best(pairs, by_turn, FINAL_BY_TURN, N, means)
    at = np.flatnonzero(final & (coarse >= LEAST_COARSE))
    pairs, transforms, coarse = pairs.at(at, means), means.taken(transforms, at), coarse[at]
    transforms, value = _finely(views, pairs, transforms, 1, True, means)
    going = np.flatnonzero(value >= LEAST_FINE)
    value[going] = _finely(views, pairs.at(going, means), transforms[going], 2, False, means)[1]
    promising = _among_best(pairs, coarse, AGAIN, N, means) & (value >= LEAST_FINE) & (value < least)
    again = np.flatnonzero(promising)
    value[again] = np.maximum(value[again], _from_whole(views, pairs.query[again], pairs.other[again], means))
    kept = np.flatnonzero(value >= least)
    found = np.sort(np.stack([pairs.query[kept], pairs.other[kept]], 1).astype(np.int64), axis=1)
    order = np.lexsort((found[:, 1], found[:, 0]))
    return found[order], value[kept][order]


def compare(views: Views, query: np.ndarray, other: np.ndarray, means: Means) -> np.ndarray:
    """The similarity [P] of given pairs, each way round, without the search's short cuts."""
    return np.maximum(_from_whole(views, query, other, means), _from_whole(views, other, query, means))


def _from_whole(views: Views, query: np.ndarray, other: np.ndarray, means: Means) -> np.ndarray:
    """Similarities [P] found from the whole images, as they are and mirrored, with more patience."""
    none = np.zeros(len(query), np.float32)
    whole = Likely(query, other, none.astype(np.int8), none)
    correlation, angle = (means.array((len(query), 2), np.float32) for _ in range(2))

    def turn(start: int) -> None:
        rows = slice(start, start + PAIRS)
        seen = (harmonics_of_images(views.coarse[side[rows]]) for side in (query, other))
        correlation[rows], angle[rows] = best_turns(*seen)

    means.do(turn, range(0, len(query), PAIRS))
    transforms, _ = _coarsely(views, None, whole, (correlation, angle), 3, 2.0, means)
    return _finely(views, whole, transforms, 3, False, means)[1]


def _turns(views: Views, described: Described, likely: Likely, means: Means) -> tuple[np.ndarray, np.ndarray]:
    """Correlation and angle of each pair's best turn, as it is and mirrored: [P, 2] each."""
    correlation, angle = (means.array((len(likely), 2), np.float32) for _ in range(2))
    order = _ordered(likely.query, len(views), means)

    def turn(start: int) -> None:
        rows = order[start : start + PAIRS]
        query, back = np.unique(likely.query[rows], return_inverse=True)
        seen = harmonics_of_squares(views.coarse[query]).reshape(len(SQUARES), 2 * COEFFICIENTS, -1)
        shown = np.ascontiguousarray(seen.transpose(2, 0, 1))[back, likely.square[rows]]
        correlation[rows], angle[rows] = best_turns(shown, described.turning[likely.other[rows]])

    means.do(turn, range(0, len(order), PAIRS))
    return correlation, angle


def _coarsely(
    views: Views,
    templates: Templates | None,
    pairs: Likely,
    turns: tuple[np.ndarray, np.ndarray],
    steps: int,
    doubt: float,
    means: Means,
) -> tuple[np.ndarray, np.ndarray]:
    """Transforms and coarse correlations from the better turn, and from the other when it is nearly as good.

    `turns` are correlations and angles [P, 2]; `templates` of all images, None: they are made when they are needed.
    """
    correlation, angle = turns
    transforms, values = means.array((len(pairs), 2, 3), np.float32), means.array((len(pairs),), np.float32)
    shapes = np.array(SQUARES, np.float32)
    order = _ordered(pairs.query, len(views), means)

    def lay(start: int) -> None:
        rows = order[start : start + REGISTERED]
        both, squares = correlation[rows], shapes[pairs.square[rows]]
        close = np.abs(both[:, 0] - both[:, 1]) <= doubt
        better = both.argmax(1)
        # Both tries of a pair lie side by side: they share what is made of its views.
        tries = np.repeat(np.arange(len(rows)), 1 + close)
        second = np.append(False, tries[1:] == tries[:-1])
        kind = np.where(second, 1 - better[tries], better[tries])
        first = similarity_transforms(angle[rows][tries, kind], kind == 1, squares[tries, 0], squares[tries, 1:])
        own = rows[tries]
        given = views.coarse, pairs.query[own], pairs.other[own], first
        found, value = _registered(*given, steps, True, templates, means)
        best, again = np.flatnonzero(~second), np.flatnonzero(second)
        won = again[value[again] > value[again - 1]]
        best[tries[won]] = won
        transforms[rows], values[rows] = found[best], value[best]

    means.do(lay, range(0, len(order), REGISTERED))
    return transforms, values


def _finely(
    views: Views, pairs: Likely, start: np.ndarray, steps: int, every_other: bool, means: Means
) -> tuple[np.ndarray, np.ndarray]:
    """Transforms [P, 2, 3] and correlations [P] of fine detail after some steps."""
    transforms, values = means.array(start.shape, np.float32), means.array((len(start),), np.float32)
    order, together = _ordered(pairs.query, len(views), means), TOGETHER[views.fine.shape[1]]

    def lay(begin: int) -> None:
        rows = order[begin : begin + together]
        given = views.fine, pairs.query[rows], pairs.other[rows], start[rows]
        transforms[rows], values[rows] = _registered(*given, steps, every_other, None, means)

    means.do(lay, range(0, len(order), together))
    return transforms, values


def _registered(
    packed: np.ndarray,
    query: np.ndarray,
    other: np.ndarray,
    start: np.ndarray,
    steps: int,
    every_other: bool,
    templates: Templates | None,
    means: Means,
) -> tuple[np.ndarray, np.ndarray]:
    """Transforms [P, 2, 3] and correlations [P] of pairs after some steps."""
    transforms, values = np.empty_like(start), np.empty(len(start), np.float32)
    block = TOGETHER[packed.shape[1]]
    for begin in range(0, len(start), block):
        rows = slice(begin, begin + block)
        queries, query_of = np.unique(query[rows], return_inverse=True)
        own, template_of = templates, other[rows]
        if own is None:
            others, template_of = np.unique(template_of, return_inverse=True)
            own = make_templates(unpacked(packed[others]), every_other)
        views = unpacked(packed[queries])
        found = register(own, views, start[rows], steps, template_of, query_of, means.room)
        transforms[rows], values[rows] = found
    return transforms, values


def _among_best(pairs: Likely, value: np.ndarray, keep: int, N: int, means: Means) -> np.ndarray:
    """True for pairs that are among the `keep` best of either of their images: [P]."""
    result, span = means.array((len(pairs),), bool), max(256, N // 64)

    def best(low: int) -> None:
        sides = [np.flatnonzero((side >= low) & (side < low + span)) for side in (pairs.query, pairs.other)]
        rows = np.concatenate(sides)
        owner = np.concatenate([pairs.query[sides[0]], pairs.other[sides[1]]])
        order = np.lexsort((-value[rows], owner))
        owner = owner[order]
        result[rows[order[np.arange(len(order)) - np.searchsorted(owner, owner) < keep]]] = True

    means.do(best, range(0, N, span))
    return result
