"""The search behind near-duplicates: every image against every other, then registration of the likeliest pairs.

1. *Candidates*: invariants of the image and of eight squares cut out of it (what crops look like) against the
   invariants of every other image, by blocked matrix products; the nearest few dozen of each image.
2. *Turns*: the best rotation and mirror of each candidate, from the harmonics.
3. *Registration*, coarse then fine: the similarity is the correlation of fine detail where both show something.

Distances are measured where images differ and small crops do not: the covariance of the set's own images, and of what
small crops do to them, are taken from the set itself. Nothing is drawn at random.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from synthcohort.core.progress import progress
from synthcohort.imaging.align import best_turns, in_disc, register, similarity_transforms
from synthcohort.imaging.fingerprint import (
    central_squares,
    coarse_detail,
    fine_detail,
    harmonic_basis,
    harmonics,
    invariants,
    unpacked,
)

Square = tuple[float, float, float]  # scale, and center (x, y)


def _corners(scale: float) -> tuple[Square, ...]:
    room = 1 - scale
    return tuple((scale, x, y) for x in (-room, room) for y in (-room, room))


WHOLE: Square = (1.0, 0.0, 0.0)
SQUARES = (WHOLE, *_corners(0.95), *_corners(0.90))
JITTER = (*_corners(0.97), (0.97, 0.0, 0.0))  # small crops that distances should not see
SAMPLE = 1000  # images that the metric is learned from
DIMENSIONS = 48
CANDIDATES = 48  # of an image, by invariants
TURNED = 24  # of them, registered coarsely
AGAIN = 2  # of them, registered again from the start when the first try led nowhere
FINAL, FINAL_BY_TURN = 4, 2  # of them, registered finely: by coarse correlation, and by the turn's
LEAST_TURN, LEAST_COARSE, LEAST_FINE = 0.4, 0.5, 0.6  # correlations below which a pair is given up
MASKED = -2.0  # a product below all others
ROWS, COLUMNS = 128, 8192  # of a block of the search
TOGETHER = {24: 128, 48: 32}  # pairs registered together, by the size of the views: what a processor's cache holds
BLOCK = 512  # views made together
COARSE_STEPS = 1
DOUBT = 0.2  # a mirror image whose turn is worse by no more than this is tried too
LEAST_SHOWN = 0.15  # share of the disc where an image must show something to be recognized by


@dataclass(frozen=True)
class Views:
    """What is compared of each image: packed fine and coarse detail, and whether there is enough of it."""

    fine: np.ndarray  # [N, 48, 48] int8
    coarse: np.ndarray  # [N, 24, 24] int8
    recognizable: np.ndarray  # [N] bool

    def __len__(self) -> int:
        return len(self.fine)


@dataclass(frozen=True)
class Likely:
    """Pairs worth a look: query, other, the square of the query that the other may show, and how alike they seem."""

    query: np.ndarray  # [P] int64
    other: np.ndarray  # [P] int64
    square: np.ndarray  # [P] int8
    alike: np.ndarray  # [P] float32

    def at(self, chosen: np.ndarray) -> "Likely":
        return Likely(self.query[chosen], self.other[chosen], self.square[chosen], self.alike[chosen])


def make_views(thumbnails: np.ndarray, order: np.ndarray, aspects: np.ndarray | None) -> Views:
    """Views of the thumbnails in this order: the central squares, or without `aspects` the whole stretched images."""
    N, (height, width) = len(order), thumbnails.shape[1:]
    fine = np.empty((N, height, width), np.int8)
    coarse = np.empty((N, height // 2, width // 2), np.int8)
    shown = np.empty(N, bool)
    inside = in_disc(height)
    for start in range(0, N, BLOCK):
        rows = slice(start, start + BLOCK)
        pixels = np.asarray(thumbnails[order[rows]])
        views = pixels.astype(np.float32) if aspects is None else central_squares(pixels, aspects[rows])
        fine[rows], coarse[rows] = fine_detail(views), coarse_detail(views)
        strong = np.abs(unpacked(fine[rows].reshape(len(pixels), -1)[:, inside])) > 0.75
        shown[rows] = strong.mean(1) >= LEAST_SHOWN
    return Views(fine, coarse, shown)


@dataclass(frozen=True)
class Metric:
    """Which differences between invariants count: subtract the mean, project, and compare directions."""

    mean: np.ndarray  # [D]
    projection: np.ndarray  # [D, DIMENSIONS]

    def apply(self, coarse: np.ndarray, square: Square) -> np.ndarray:
        """Unit vectors [N, DIMENSIONS] float32 of what this square of the images (packed) shows."""
        raw = invariants(harmonics(unpacked(coarse), harmonic_basis(*square)))
        x = (raw - self.mean) @ self.projection
        return np.asarray(x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-9), np.float32)


def learn_metric(coarse: np.ndarray) -> Metric:
    """Divides by the spread between images and by what small crops do, then keeps the directions that differ most."""
    chosen = np.linspace(0, len(coarse) - 1, min(len(coarse), SAMPLE)).astype(int)
    images = unpacked(coarse[chosen])
    raw = invariants(harmonics(images, harmonic_basis())).astype(np.float64)
    moved = [invariants(harmonics(images, harmonic_basis(*square))) - raw for square in JITTER]
    within = np.mean([change.T @ change for change in moved], axis=0) / len(images)
    mean = raw.mean(0)
    total = (raw - mean).T @ (raw - mean) / len(images)
    # Half of the spread without its correlations: what few images seem to have in common is not trusted.
    noise = within + 0.5 * total + np.diag(0.5 * np.diag(total) + 1e-5)
    values, vectors = np.linalg.eigh(noise)
    whiten = vectors / np.sqrt(values)
    _, directions = np.linalg.eigh(whiten.T @ total @ whiten)
    return Metric(mean.astype(np.float32), (whiten @ directions[:, ::-1][:, :DIMENSIONS]).astype(np.float32))


def find_candidates(views: Views, metric: Metric, queries: np.ndarray, group_of: np.ndarray) -> Likely:
    """The nearest images of each query by invariants, none of its own group and none that shows nothing.

    Each pair comes once, from the side whose square says more.
    """
    N, K = len(views), min(CANDIDATES, len(views) - 1)
    described = np.empty((len(SQUARES), N, metric.projection.shape[1]), np.float32)
    _describe(described[:1], views, metric, np.arange(N), SQUARES[:1])
    _describe(described[1:], views, metric, queries, SQUARES[1:])
    members = _members(group_of)
    low, high = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    with progress(len(queries), "near-duplicates") as advance:
        for start in range(0, len(queries), ROWS):
            own = queries[start : start + ROWS]
            cut = np.ascontiguousarray(described[:, own])
            where, alike = _nearest(cut, described[0], K, views.recognizable, [members[group_of[i]] for i in own])
            row, place = np.nonzero(alike > MASKED)
            low.append(np.minimum(own[row], where[row, place]))
            high.append(np.maximum(own[row], where[row, place]))
            advance(len(own))
    keys = np.unique(np.concatenate(low) * N + np.concatenate(high))
    a, b = keys // N, keys % N
    _describe(described[1:], views, metric, np.setdiff1d(np.concatenate([a, b]), queries), SQUARES[1:])
    return _directed(described, a, b)


def _describe(described: np.ndarray, views: Views, metric: Metric, rows: np.ndarray, squares: Sequence[Square]) -> None:
    """Fills in what squares of these images show."""
    for start in range(0, len(rows), COLUMNS):
        own = rows[start : start + COLUMNS]
        for number, square in enumerate(squares):
            described[number, own] = metric.apply(views.coarse[own], square)


def _directed(described: np.ndarray, a: np.ndarray, b: np.ndarray) -> Likely:
    """Which image of each pair shows the other in which of its squares: the likeliest of all."""
    query, other = a.copy(), b.copy()
    square, alike = np.zeros(len(a), np.int8), np.zeros(len(a), np.float32)
    for start in range(0, len(a), COLUMNS):
        rows = slice(start, start + COLUMNS)
        own, their = described[:, a[rows]], described[:, b[rows]]
        values = np.concatenate([np.einsum("spd,pd->ps", own, their[0]), np.einsum("spd,pd->ps", their, own[0])], 1)
        best = values.argmax(1)
        swapped = best >= len(described)
        query[rows], other[rows] = np.where(swapped, b[rows], a[rows]), np.where(swapped, a[rows], b[rows])
        square[rows], alike[rows] = best % len(described), values[np.arange(len(best)), best]
    return Likely(query, other, square, alike)


def _nearest(
    cut: np.ndarray, described: np.ndarray, K: int, recognizable: np.ndarray, own: Sequence[np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """The K rows of `described` nearest to any of each query's squares [squares, Q, D]: positions and products."""
    Q = cut.shape[1]
    best_where, best = np.zeros((Q, 0), np.int64), np.zeros((Q, 0), np.float32)
    for start in range(0, len(described), COLUMNS):
        block = described[start : start + COLUMNS].T
        alike = cut[0] @ block
        for square in cut[1:]:
            np.maximum(alike, square @ block, out=alike)
        alike[:, ~recognizable[start : start + COLUMNS]] = MASKED
        for row, mine in enumerate(own):
            here = mine[(mine >= start) & (mine < start + COLUMNS)] - start
            alike[row, here] = MASKED
        few = min(K, alike.shape[1])
        top = np.argpartition(alike, alike.shape[1] - few, axis=1)[:, alike.shape[1] - few :]
        best_where = np.concatenate([best_where, top + start], 1)
        best = np.concatenate([best, np.take_along_axis(alike, top, 1)], 1)
        if best.shape[1] > K:
            kept = np.argpartition(best, best.shape[1] - K, axis=1)[:, best.shape[1] - K :]
            best_where, best = np.take_along_axis(best_where, kept, 1), np.take_along_axis(best, kept, 1)
    return best_where, best


def verify(views: Views, likely: Likely, least: float) -> tuple[np.ndarray, np.ndarray]:
    """Pairs [P, 2] (smaller position first, sorted) whose similarity [P] is at least `least`."""
    turns = _turns(views, likely)
    by_turn = turns[0].max(1)
    chosen = np.flatnonzero(_among_best(likely, by_turn + likely.alike, TURNED) & (by_turn >= LEAST_TURN))
    pairs, by_turn = likely.at(chosen), by_turn[chosen]
    transforms, coarse = _coarsely(views, pairs, turns[0][chosen], turns[1][chosen], steps=COARSE_STEPS)
    final = _among_best(pairs, coarse, FINAL) | _among_best(pairs, by_turn, FINAL_BY_TURN)
    final &= coarse >= LEAST_COARSE
    pairs = pairs.at(np.flatnonzero(final))
    transforms, value = _registered(views.fine, pairs, transforms[final], steps=1, every_other=True)
    going = np.flatnonzero(value >= LEAST_FINE)
    _, value[going] = _registered(views.fine, pairs.at(going), transforms[going], steps=2)
    promising = _among_best(pairs, coarse[final], AGAIN) & (value >= LEAST_FINE) & (value < least)
    again = np.flatnonzero(promising)
    value[again] = np.maximum(value[again], _from_whole(views, pairs.at(again)))
    kept = np.flatnonzero(value >= least)
    found = np.sort(np.stack([pairs.query[kept], pairs.other[kept]], 1), axis=1)
    order = np.lexsort((found[:, 1], found[:, 0]))
    return found[order], value[kept][order]


def compare(views: Views, query: np.ndarray, other: np.ndarray) -> np.ndarray:
    """The similarity [P] of given pairs, each way round, without the search's short cuts."""
    none = np.zeros(len(query), np.float32)
    ways = (Likely(query, other, none.astype(np.int8), none), Likely(other, query, none.astype(np.int8), none))
    return np.maximum(*(_from_whole(views, way) for way in ways))


def _from_whole(views: Views, pairs: Likely) -> np.ndarray:
    """Similarities [P] found from the whole images, as they are and mirrored, with more patience."""
    whole = replace(pairs, square=np.zeros_like(pairs.square))
    transforms, _ = _coarsely(views, whole, *_turns(views, whole), steps=3, doubt=2.0)
    return _registered(views.fine, whole, transforms, steps=3)[1]


def _turns(views: Views, likely: Likely) -> tuple[np.ndarray, np.ndarray]:
    """Correlation and angle of each pair's best turn, as it is and mirrored: [P, 2] each."""
    correlation = np.zeros((len(likely.query), 2), np.float32)
    angle = np.zeros((len(likely.query), 2), np.float32)
    whole = np.concatenate(
        [harmonics(unpacked(views.coarse[s : s + COLUMNS]), harmonic_basis()) for s in range(0, len(views), COLUMNS)]
    )
    for number, square in enumerate(SQUARES):
        at = np.flatnonzero(likely.square == number)
        for start in range(0, len(at), COLUMNS):
            rows = at[start : start + COLUMNS]
            query, back = np.unique(likely.query[rows], return_inverse=True)
            seen = whole[query] if number == 0 else harmonics(unpacked(views.coarse[query]), harmonic_basis(*square))
            correlation[rows], angle[rows] = best_turns(seen[back], whole[likely.other[rows]])
    return correlation, angle


def _coarsely(
    views: Views, pairs: Likely, correlation: np.ndarray, angle: np.ndarray, steps: int, doubt: float = DOUBT
) -> tuple[np.ndarray, np.ndarray]:
    """Transforms and coarse correlations from the better turn, and from the other when it is nearly as good."""
    squares = np.array(SQUARES, np.float32)[pairs.square]
    transforms, values = np.empty((len(squares), 2, 3), np.float32), np.full(len(squares), -2.0, np.float32)
    better = correlation.argmax(1)
    close = np.abs(correlation[:, 0] - correlation[:, 1]) <= doubt
    for kind, at in ((better, np.arange(len(better))), (1 - better, np.flatnonzero(close))):
        kind = kind[at]
        start = similarity_transforms(angle[at, kind], kind == 1, squares[at, 0], squares[at, 1:])
        found, value = _registered(views.coarse, pairs.at(at), start, steps, every_other=True)
        won = value > values[at]
        transforms[at[won]], values[at[won]] = found[won], value[won]
    return transforms, values


def _registered(
    packed: np.ndarray, pairs: Likely, start: np.ndarray, steps: int, every_other: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """Transforms [P, 2, 3] and correlations [P] of pairs after some steps."""
    transforms, values = np.empty_like(start), np.empty(len(start), np.float32)
    block = TOGETHER[packed.shape[1]]
    for begin in range(0, len(start), block):
        rows = slice(begin, begin + block)
        template, query = unpacked(packed[pairs.other[rows]]), unpacked(packed[pairs.query[rows]])
        transforms[rows], values[rows] = register(template, query, start[rows], steps, every_other)
    return transforms, values


def _among_best(pairs: Likely, value: np.ndarray, keep: int) -> np.ndarray:
    """True for pairs that are among the `keep` best of either of their images: [P]."""
    owner, both = np.concatenate([pairs.query, pairs.other]), np.concatenate([value, value])
    order = np.lexsort((-both, owner))
    place = np.arange(len(order)) - np.searchsorted(owner[order], owner[order])
    result = np.zeros(len(owner), bool)
    result[order[place < keep]] = True
    return result[: len(value)] | result[len(value) :]


def _members(group_of: np.ndarray) -> dict[int, np.ndarray]:
    """Positions of each group's images."""
    order = np.argsort(group_of, kind="stable")
    names, starts = np.unique(group_of[order], return_index=True)
    return dict(zip(names.tolist(), np.split(order, starts[1:]), strict=True))
