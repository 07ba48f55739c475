"""What is measured in each group of patients, from cached marks and features: gaps to the other groups, with errors.

A *cell* is a group (sex F) or a group within a class (sex F, grade 2). Each figure of a cell compares synthetic with
real images *of that cell*, and the *gap* is its difference to the same figure outside the cell: what is wrong with all
images alike is the business of other families.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from synthcohort.evaluation.damage import Marked, class_weights, damaged, lean
from synthcohort.evaluation.damage_reader import MARKS
from synthcohort.evaluation.group_columns import Columns, expected_share
from synthcohort.metrics.shift import Estimate, share_of, superiority

K = 5  # neighbors
FAR, SAME = "far", "same"


@dataclass(frozen=True)
class Side:
    """Images of one side: marks of damage, features, whether the label was read as it says, and their groups."""

    marked: Marked
    codes: dict[str, np.ndarray]
    features: np.ndarray | None = None  # [N, D]
    right: np.ndarray | None = None  # [N] 0 or 1, NaN without a label

    def among(self, chosen: np.ndarray) -> "Side":
        return Side(
            self.marked.among(chosen),
            {name: codes[chosen] for name, codes in self.codes.items()},
            None if self.features is None else self.features[chosen],
            None if self.right is None else self.right[chosen],
        )


@dataclass(frozen=True)
class Cell:
    """A group, or a group within a class."""

    column: str
    code: int
    value: str
    number: int | None = None  # of the class; None: whatever the class
    class_words: str = ""

    @property
    def name(self) -> str:
        return f"{self.column}={self.value}" + (f", {self.class_words}" if self.class_words else "")

    def members(self, side: Side) -> np.ndarray:
        inside = side.codes[self.column] == self.code
        return inside if self.number is None else inside & (side.marked.classes == self.number)

    def others(self, side: Side) -> np.ndarray:
        """Images of the column's other groups; for a cell within a class, of that class."""
        outside = (side.codes[self.column] != self.code) & (side.codes[self.column] >= 0)
        return outside if self.number is None else outside & (side.marked.classes == self.number)


@dataclass(frozen=True)
class CellFigures:
    """What was found in one cell; gaps are positive where the cell is worse than the others."""

    cell: Cell
    num_real: int
    num_synthetic: int
    share: Estimate  # among the synthetic images whose group is known
    expected: float
    gaps: dict[str, Estimate]  # by kind of damage, FAR and SAME: difference of probabilities
    damaged: tuple[Estimate, Estimate] | None  # synthetic, real
    reading: Estimate | None  # log of the rate of labels read, synthetic over real, beside the others' ratio
    read: tuple[Estimate, Estimate] | None  # synthetic, real


def cells_of(columns: Columns, real: Side, label: str, values: Sequence[Any], least: int) -> list[Cell]:
    """All groups, and those groups within a class of which there are enough real images."""
    cells = []
    for column, names in columns.values.items():
        for code, name in enumerate(names):
            cells.append(Cell(column, code, name))
            for number, value in enumerate(values):
                cell = Cell(column, code, name, number, f"{label}={value}")
                if min(int(cell.members(real).sum()), int(cell.others(real).sum())) >= least:
                    cells.append(cell)
    return cells


def measure(
    cells: Sequence[Cell], composition: Side, sound: Side, seen: Side, synthetic: Side, least: int,
    target: Mapping[str, Mapping[str, float]] | None = None,
) -> list[CellFigures]:  # fmt: skip
    """Figures of all cells, from cached marks and features alone: no draws, fast enough for hundreds of resamples.

    composition: real images whose shares are expected; sound: real images that damage is compared with; seen: real
    images that features and readings are compared with (none that the encoder was fitted on).
    """
    weights = class_weights(sound.marked.classes, synthetic.marked.classes)
    hits = damaged(sound.marked, weights, [synthetic.marked])
    return [_figures(cell, composition, sound, seen, synthetic, hits, least, target or {}) for cell in cells]


def _figures(
    cell: Cell, composition: Side, sound: Side, seen: Side, synthetic: Side, hits: list[np.ndarray], least: int,
    target: Mapping[str, Mapping[str, float]],
) -> CellFigures:  # fmt: skip
    inside, outside = cell.members(synthetic), cell.others(synthetic)
    known = inside | outside
    share = share_of(inside[known], synthetic.marked.owners[known])
    wanted = target.get(cell.column, {}).get(cell.value) if cell.number is None else None
    expected = wanted if wanted is not None else _expected(cell, composition, synthetic)
    pairs = [(cell.members(side), cell.others(side)) for side in (sound, seen)]
    gaps: dict[str, Estimate] = {}
    shares = reading = read = None
    if _enough(least, inside, outside, *pairs[0]):
        gaps |= _damage_gaps(sound.marked, synthetic.marked, pairs[0], (inside, outside))
        shares = (
            share_of(hits[1][inside], synthetic.marked.owners[inside]),
            share_of(hits[0][pairs[0][0]], sound.marked.owners[pairs[0][0]]),
        )
    if _enough(least, inside, outside, *pairs[1]):
        if seen.features is not None and synthetic.features is not None:
            gaps |= _feature_gaps(seen, synthetic, pairs[1], (inside, outside))
        if cell.number is None and seen.right is not None and synthetic.right is not None:
            read, reading = _reading(seen, synthetic, pairs[1], (inside, outside))
    num_real = int(cell.members(composition).sum())
    return CellFigures(cell, num_real, int(inside.sum()), share, expected, gaps, shares, reading, read)


def _expected(cell: Cell, composition: Side, synthetic: Side) -> float:
    members, others = cell.members(composition), cell.others(composition)
    known = cell.members(synthetic) | cell.others(synthetic)
    return expected_share(members, members | others, composition.marked.classes, known, synthetic.marked.classes)


def _enough(least: int, *masks: np.ndarray) -> bool:
    return min(int(mask.sum()) for mask in masks) >= least


Masks = tuple[np.ndarray, np.ndarray]


def _damage_gaps(real: Marked, made: Marked, real_masks: Masks, made_masks: Masks) -> dict[str, Estimate]:
    """How much more the cell leans towards each kind of damage than the others do."""
    sides = [(real.among(r), made.among(m)) for r, m in zip(real_masks, made_masks, strict=True)]
    weights = [class_weights(r.classes, m.classes) for r, m in sides]
    return {
        name: lean(*sides[0], column, weights[0]) - lean(*sides[1], column, weights[1])
        for column, name in enumerate(MARKS)
    }


def _feature_gaps(real: Side, made: Side, real_masks: Masks, made_masks: Masks) -> dict[str, Estimate]:
    """How much farther from real images of the cell, and how much more alike among themselves, than elsewhere."""
    leans = []
    for r, m in zip(real_masks, made_masks, strict=True):
        a, b = real.among(np.flatnonzero(r)), made.among(np.flatnonzero(m))
        assert a.features is not None
        assert b.features is not None
        own = neighbor_distances(a.features, a.features, a.marked.owners, a.marked.owners)
        far = neighbor_distances(b.features, a.features)
        weights = class_weights(a.marked.classes, b.marked.classes)
        owners = {"reference_owners": a.marked.owners, "sample_owners": b.marked.owners, "reference_weights": weights}
        leans.append([superiority(reference=own, sample=far, **owners)])
        count = min(len(own), len(far))
        rows = [_spread(len(own), count), _spread(len(far), count)]
        within = [
            neighbor_distances(side.features[row], side.features[row], side.marked.owners[row], side.marked.owners[row])
            for side, row in ((a, rows[0]), (b, rows[1]))
            if side.features is not None
        ]
        alike = superiority(
            reference=-within[0], sample=-within[1], reference_owners=a.marked.owners[rows[0]],
            sample_owners=b.marked.owners[rows[1]], reference_weights=weights[rows[0]],
        )  # fmt: skip
        leans[-1].append(alike)
    return {name: leans[0][i] - leans[1][i] for i, name in enumerate((FAR, SAME))}


def _spread(total: int, count: int) -> np.ndarray:
    """`count` positions spread evenly: both sides must be of one size to be compared among themselves."""
    return np.linspace(0, total - 1, count).round().astype(np.int64)


def neighbor_distances(
    images: np.ndarray, among: np.ndarray, owners: np.ndarray | None = None, others: np.ndarray | None = None
) -> np.ndarray:
    """Squared distance of each image's features to its K-th nearest neighbor; images of its own patient don't count."""
    a, b = np.asarray(images, np.float64), np.asarray(among, np.float64)
    distances = np.square(a).sum(axis=1)[:, None] + np.square(b).sum(axis=1) - 2 * a @ b.T
    if owners is not None and others is not None:
        distances[owners[:, None] == others[None, :]] = np.inf
    k = min(K, distances.shape[1]) - 1
    return np.maximum(np.partition(distances, k, axis=1)[:, k], 0)


def _reading(
    real: Side, made: Side, real_masks: Masks, made_masks: Masks
) -> tuple[tuple[Estimate, Estimate] | None, Estimate | None]:
    """Rates of labels read as they say, and the log of the cell's synthetic-over-real ratio over the others' ratio."""
    rates = []
    assert real.right is not None
    assert made.right is not None
    for r, m in zip(real_masks, made_masks, strict=True):
        r, m = r & np.isfinite(real.right), m & np.isfinite(made.right)
        if not r.any() or not m.any():
            return None, None
        weights = class_weights(real.marked.classes[r], made.marked.classes[m])
        rates.append(
            (share_of(made.right[m], made.marked.owners[m]), share_of(real.right[r], real.marked.owners[r], weights))
        )
    if min(rate.value for pair in rates for rate in pair) <= 0:
        return rates[0], None
    logs = [Estimate(float(np.log(rate.value)), rate.error / rate.value) for pair in rates for rate in pair]
    return rates[0], (logs[0] - logs[1]) - (logs[2] - logs[3])
