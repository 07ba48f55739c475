"""Exact nearest neighbours in blocks: a float32 product finds the few candidates, float64 decides among them.

The product's rounding error is bounded, so no neighbour is ever missed, and the result does not depend on the blocks.
Beside the features themselves the memory is that of one block: it ignores the number of images.

Legend: Q queries, N corpus, D dimensions, P pairs; a *screen* is a float32 number that never exceeds the true squared
distance less the query's own squared norm.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

ROWS = 1024  # queries of a block
COLUMNS = 32768  # corpus points of a block
PAIRS = 65536  # pairs whose distances are computed together
GROUPS = 256  # the least of each group of columns gives a first bound on the k-th distance


@dataclass(frozen=True)
class Screen:
    """What turns features into operands of one float32 product, and what it may be wrong by."""

    center: np.ndarray  # [D]; distances stay, rounding errors shrink
    shrink: np.float32  # norms times this make the screen a lower bound

    def left(self, queries: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """[Q, D + 1] float32 and the shrunk squared norms [Q] float32."""
        centered = (queries - self.center).astype(np.float32)
        norms = np.einsum("nd,nd->n", centered, centered, dtype=np.float64)
        operand = np.empty((len(centered), centered.shape[1] + 1), np.float32)
        operand[:, :-1] = -2 * centered
        operand[:, -1] = 1
        return operand, (norms * self.shrink).astype(np.float32)

    def right(self, corpus: np.ndarray) -> np.ndarray:
        """[N, D + 1] float32, the last column the shrunk squared norms: left @ right.T is the screen."""
        centered = (corpus - self.center).astype(np.float32)
        operand = np.empty((len(centered), centered.shape[1] + 1), np.float32)
        operand[:, :-1] = centered
        operand[:, -1] = np.einsum("nd,nd->n", centered, centered, dtype=np.float64) * self.shrink
        return operand


def screen_for(corpus: np.ndarray) -> Screen:
    """The screen of a corpus [N, D].

    Rounding to float32 and a product of D terms err by at most about (D + 8) u (|a| + |b|)², which is at most twice
    that times |a|² + |b|²; the norms are shrunk by twice the bound. Source: Higham 2002, section 3.1.
    """
    center = np.zeros(corpus.shape[1])
    for start in range(0, len(corpus), COLUMNS):
        center += corpus[start : start + COLUMNS].sum(axis=0, dtype=np.float64)
    unit = float(np.finfo(np.float32).eps) / 2
    return Screen(center / max(1, len(corpus)), np.float32(1 - 8 * (corpus.shape[1] + 8) * unit))


def pair_distances(a: np.ndarray, b: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Squared distances of pairs (a[rows], b[columns]): [P] float64, the same number whatever stands beside them."""
    distances = np.empty(len(rows))
    step = max(1, min(PAIRS, 2**22 // a.shape[1]))
    for start in range(0, len(rows), step):
        part = slice(start, start + step)
        difference = a[rows[part]].astype(np.float64)
        difference -= b[columns[part]]
        distances[part] = np.einsum("pd,pd->p", difference, difference)
    return distances


def nearest(
    queries: np.ndarray,
    corpus: np.ndarray,
    k: int = 1,
    *,
    same: bool = False,
    rows: int = ROWS,
    columns: int = COLUMNS,
) -> tuple[np.ndarray, np.ndarray]:
    """The k nearest points of `corpus` [N, D] to each of `queries` [Q, D]: distances [Q, k] float64, positions [Q, k].

    Ascending; among equal distances the lower position comes first. `same`: both are one set, and a point is no
    neighbour of itself. Raises ValueError when the corpus has fewer than k points.
    """
    if queries.ndim != 2 or corpus.ndim != 2 or queries.shape[1] != corpus.shape[1]:
        raise ValueError(f"queries of shape {queries.shape} and corpus of shape {corpus.shape}; needed: [Q, D], [N, D]")
    if not 1 <= k <= len(corpus) - same:
        raise ValueError(f"{k} neighbours among {len(corpus) - same} points")
    screen = screen_for(corpus)
    distances, positions = np.full((len(queries), k), np.inf), np.zeros((len(queries), k), np.int64)
    for first in range(0, len(queries), rows):
        part = slice(first, first + rows)
        best = _Best(k, len(queries[part]))
        for start, tile, norms in _tiles(queries[part], corpus, screen, columns):
            if same:
                _without_self(tile, first - start)
            best.bound(tile, queries[part], corpus[start : start + columns])
            best.take(tile, norms, queries[part], corpus, start)
        distances[part], positions[part] = best.distances, best.positions
    return np.sqrt(distances), positions


def _tiles(
    queries: np.ndarray, corpus: np.ndarray, screen: Screen, columns: int
) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
    """Each block of the corpus: its start, the screen [Q, block] and the queries' shrunk norms."""
    left, norms = screen.left(queries)
    for start in range(0, len(corpus), columns):
        yield start, left @ screen.right(corpus[start : start + columns]).T, norms


def _without_self(tile: np.ndarray, shift: int) -> None:
    """Row i of a tile is the point in its column i + shift: made infinitely far."""
    rows = np.arange(max(0, -shift), min(len(tile), tile.shape[1] - shift))
    if len(rows):
        tile[rows, rows + shift] = np.inf


class _Best:
    """The k best so far of a block of queries, with an exact upper bound on the k-th."""

    def __init__(self, k: int, count: int) -> None:
        self.k = k
        self.distances = np.full((count, k), np.inf)
        self.positions = np.full((count, k), np.iinfo(np.int64).max)
        self.limit = np.full(count, np.inf)

    def bound(self, tile: np.ndarray, queries: np.ndarray, corpus: np.ndarray) -> None:
        """Tightens the bound by the true distances of the nearest points of k groups of columns."""
        num = tile.shape[1]
        groups = min(GROUPS, num)
        if groups < self.k:
            return
        depth = num // groups
        least = tile[:, : groups * depth].reshape(len(tile), depth, groups).min(axis=1)
        chosen = np.argpartition(least, self.k - 1, axis=1)[:, : self.k]
        # The columns of group g are g, g + groups, g + 2 * groups, ...
        members = chosen[:, None, :] + groups * np.arange(depth)[None, :, None]
        inside = np.take_along_axis(tile, members.reshape(len(tile), -1), axis=1).reshape(members.shape)
        columns = chosen + groups * inside.argmin(axis=1)
        finite = np.isfinite(np.take_along_axis(tile, columns, axis=1)).all(axis=1)  # a point itself is no neighbour
        row = np.repeat(np.arange(len(tile)), self.k)
        exact = pair_distances(queries, corpus, row, columns.ravel()).reshape(-1, self.k).max(axis=1)
        self.limit = np.where(finite, np.minimum(self.limit, exact), self.limit)

    def take(self, tile: np.ndarray, norms: np.ndarray, queries: np.ndarray, corpus: np.ndarray, start: int) -> None:
        """Everything that may lie within the bound, at its true distance."""
        with np.errstate(over="ignore"):
            threshold = np.nextafter((self.limit - norms).astype(np.float32), np.float32(np.inf))
        near = tile <= threshold[:, None]
        if not np.isfinite(threshold).all():
            near &= tile < np.inf
        row, column = np.divmod(np.flatnonzero(near), tile.shape[1])
        if not len(row):
            return
        positions = column + start
        distances = pair_distances(queries, corpus, row, positions)
        row = np.concatenate([row, np.repeat(np.arange(len(tile)), self.k)])
        distances = np.concatenate([distances, self.distances.ravel()])
        positions = np.concatenate([positions, self.positions.ravel()])
        order = np.lexsort((positions, distances, row))
        row, distances, positions = row[order], distances[order], positions[order]
        rank = np.arange(len(row)) - np.searchsorted(row, row)
        kept = rank < self.k
        self.distances[row[kept], rank[kept]] = distances[kept]
        self.positions[row[kept], rank[kept]] = positions[kept]
        self.limit = np.minimum(self.limit, self.distances[:, -1])
