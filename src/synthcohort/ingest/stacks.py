"""Slices of a series apart: first into stacks that share shape, spacing and orientation, then by repetition.

Words: the *normal* of a slice is row direction x column direction; the *height* of a slice is its position projected on
the normal; a *level* is a height at which one slice or more lie. Source: DICOM PS3.3 C.7.6.2.1.1.
"""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from synthcohort.formats.image import Place

# Headers round direction cosines to three decimals or more. Reasons for all: docs/decisions/0019-volumes.md.
ORIENTATION_RAD = float(np.deg2rad(0.1))  # between slices of one stack, over all six direction cosines
PIXEL_SPACING_SHARE = 1e-3  # between pixel spacings of one stack
COSINE_ERROR = 5e-3  # of the length of a direction, and of the right angle between the two
LEVEL_MM, LEVEL_SHARE = 1e-3, 0.01  # slices nearer than this, or this share of the usual gap, lie at one level
REPEATED_SHARE = 0.5  # where more than this share of levels is repeated, the series holds several volumes


@dataclass(frozen=True)
class SliceRecord:
    """One slice of a series: `index` into the cohort, and what tells where it lies.

    key     acquisition, echo, trigger time, b-value...: numbers in an order that is the caller's, alike for all slices
    number  frame or Instance Number; tells repetitions apart where the key does not, and orders nothing else
    """

    index: int
    series_id: str  # a pseudonym
    place: Place | None
    shape: tuple[int, int]  # rows, columns
    pixel_spacing_mm: tuple[float, float] | None = None  # between rows, between columns
    key: tuple[float, ...] = ()
    number: int | None = None
    pixels_digest: str = ""  # equal for equal pixels; empty when not known


@dataclass(frozen=True)
class Part:
    """Slices in order of height, one a level; or, with `one_level`, all at the same one, in order of key and number."""

    slices: tuple[SliceRecord, ...]
    frame: np.ndarray  # of the whole stack, so that a rounded direction never reorders its slices
    duplicates: tuple[SliceRecord, ...] = ()  # set aside: another slice of the part lies there
    pixels: dict[str, int] = field(default_factory=dict)  # duplicates whose pixels are equal, different, unknown
    one_level: bool = False
    repetitions: int = 1  # how many parts of its stack lie at the same levels
    ambiguous: int = 0  # levels whose repetitions nothing tells apart, or that lack some


def has_place(item: SliceRecord) -> bool:
    """Whether position and orientation are numbers, and the directions unit vectors at a right angle."""
    if item.place is None:
        return False
    values = np.array([*item.place.position_mm, *item.place.orientation], float)
    if values.shape != (9,) or not np.isfinite(values).all():
        return False
    row, column = values[3:6], values[6:]
    return bool(
        abs(np.linalg.norm(row) - 1) < COSINE_ERROR
        and abs(np.linalg.norm(column) - 1) < COSINE_ERROR
        and abs(row @ column) < COSINE_ERROR
    )


def frame_of(stack: Sequence[SliceRecord]) -> np.ndarray:
    """Row direction, column direction and normal as the rows of a rotation matrix, [3, 3]."""
    row, column = np.median(orientations(stack), axis=0).reshape(2, 3)
    row = row / np.linalg.norm(row)
    column = column - (row @ column) * row
    column = column / np.linalg.norm(column)
    return np.array([row, column, np.cross(row, column)])


def positions(slices: Sequence[SliceRecord]) -> np.ndarray:
    """[slices, 3] mm."""
    return np.array([item.place.position_mm for item in slices if item.place is not None], float)


def orientations(slices: Sequence[SliceRecord]) -> np.ndarray:
    """[slices, 6] direction cosines."""
    return np.array([item.place.orientation for item in slices if item.place is not None], float)


def stacks(slices: Sequence[SliceRecord]) -> tuple[list[list[SliceRecord]], dict[str, int]]:
    """Slices with a place, apart by shape, pixel spacing and orientation; how many of each, where more than one."""
    if not slices:
        return [], {}
    shapes = np.array([item.shape for item in slices], float)
    spacings = np.log([item.pixel_spacing_mm or (1e-9, 1e-9) for item in slices])
    labels = {
        "shapes": _clusters(shapes, 0.5),
        "pixel spacings": _clusters(spacings, PIXEL_SPACING_SHARE),
        "orientations": _clusters(orientations(slices), ORIENTATION_RAD),
    }
    found: dict[tuple[int, ...], list[SliceRecord]] = defaultdict(list)
    for item, own in zip(slices, zip(*labels.values(), strict=True), strict=True):
        found[tuple(map(int, own))].append(item)
    mixed = {kind: int(own.max()) + 1 for kind, own in labels.items() if own.max() > 0}
    return [sorted(found[own], key=_content) for own in sorted(found)], mixed


def _clusters(values: np.ndarray, distance: float) -> np.ndarray:
    """Numbers of the groups of rows that a chain of steps of at most `distance` joins, [N]; in no order of the rows."""
    different, inverse = np.unique(values, axis=0, return_inverse=True)
    labels = np.full(len(different), -1)
    for start in range(len(different)):
        if labels[start] >= 0:
            continue
        labels[start] = labels.max() + 1
        waiting = [start]
        while waiting:
            at = waiting.pop()
            near = (np.linalg.norm(different - different[at], axis=1) <= distance) & (labels < 0)
            labels[near] = labels[start]
            waiting.extend(np.flatnonzero(near).tolist())
    return labels[inverse.reshape(-1)]


def _content(item: SliceRecord) -> tuple[Any, ...]:
    """An order that does not depend on how slices came, as far as they differ at all."""
    assert item.place is not None
    return (item.place.orientation, item.place.position_mm, item.key, *_own(item))


def _own(item: SliceRecord) -> tuple[int, str, int]:
    return -1 if item.number is None else item.number, item.pixels_digest, item.index


def split_repeats(stack: Sequence[SliceRecord]) -> list[Part]:
    """Volumes of one stack: repeated positions become parts of their own when most levels repeat, else duplicates."""
    frame = frame_of(stack)
    points = positions(stack) @ frame.T
    levels = _levels(points[:, 2])
    at = dict(zip((item.index for item in stack), zip(levels, points[:, :2], strict=True), strict=True))
    holders: dict[tuple[float, ...], set[int]] = defaultdict(set)
    for item, level in zip(stack, levels, strict=True):
        holders[item.key].add(int(level))
    shared = Counter(level for own in holders.values() for level in own)
    overlap = max(sum(shared[level] > 1 for level in own) / len(own) for own in holders.values())
    if overlap <= REPEATED_SHARE:  # the key tells nothing apart: one acquisition may go on where another ends
        return _split_unkeyed(stack, at, frame)
    parts = []
    for key in sorted(holders):
        parts += _split_unkeyed([item for item in stack if item.key == key], at, frame)
    return [replace(part, repetitions=max(len(parts), part.repetitions)) for part in parts]


_At = dict[int, tuple[int, np.ndarray]]  # index of a slice -> level, and place within the plane in mm


def _levels(heights: np.ndarray) -> np.ndarray:
    """Number of each slice's level, from the lowest; rounding does not make a new one."""
    order = np.argsort(heights, kind="stable")
    gaps = np.diff(heights[order])
    usual = np.median(gaps[gaps > LEVEL_MM]) if (gaps > LEVEL_MM).any() else 0.0
    levels = np.zeros(len(heights), int)
    levels[order[1:]] = np.cumsum(gaps > max(LEVEL_MM, LEVEL_SHARE * usual))
    return levels


def _split_unkeyed(stack: Sequence[SliceRecord], at: _At, frame: np.ndarray) -> list[Part]:
    """Parts of slices that their key does not tell apart: by place within the plane, then by number."""
    groups: dict[int, list[SliceRecord]] = defaultdict(list)
    for item in stack:
        groups[at[item.index][0]].append(item)
    ordered = [sorted(groups[level], key=lambda item: _rank(item, at)) for level in sorted(groups)]
    if len(ordered) == 1:
        return [_one_level(ordered[0], frame)]
    repeated = sum(len(group) > 1 for group in ordered)
    copies = all(len(_kinds(group)) == 1 for group in ordered)
    if repeated <= REPEATED_SHARE * len(ordered) or copies:
        return [_without_duplicates(ordered, frame)]
    times = max(map(len, ordered))
    unclear = sum(len(group) < times or len({_rank(x, at)[:3] for x in group}) < len(group) for group in ordered)
    parts = [tuple(group[k] for group in ordered if len(group) > k) for k in range(times)]
    return [Part(part, frame, one_level=len(part) == 1, repetitions=times, ambiguous=unclear) for part in parts]


def _rank(item: SliceRecord, at: _At) -> tuple[Any, ...]:
    """Order within a level. Stacks side by side in one plane come apart by their place, times by their number."""
    return item.key, tuple(np.round(at[item.index][1], 1).tolist()), *_own(item)


def _kinds(group: Sequence[SliceRecord]) -> set[str]:
    """The different pixels of a level; pixels that are not known count as different."""
    return {item.pixels_digest or f"unknown {item.index}" for item in group}


def _one_level(group: Sequence[SliceRecord], frame: np.ndarray) -> Part:
    first: dict[str, SliceRecord] = {}
    for item in group:
        first.setdefault(item.pixels_digest or f"unknown {item.index}", item)
    kept = sorted(first.values(), key=lambda item: (item.key, *_own(item)))
    rest = tuple(item for item in group if item not in kept)
    pixels = {"equal": len(rest)} if rest else {}
    return Part(tuple(kept), frame, rest, pixels, one_level=True, repetitions=len(kept))


def _without_duplicates(ordered: Sequence[Sequence[SliceRecord]], frame: np.ndarray) -> Part:
    pixels: Counter[str] = Counter()
    for kept, *others in ordered:
        for item in others:
            known = item.pixels_digest and kept.pixels_digest
            pixels["unknown" if not known else "equal" if known == item.pixels_digest else "different"] += 1
    rest = tuple(item for group in ordered for item in group[1:])
    return Part(tuple(group[0] for group in ordered), frame, rest, dict(sorted(pixels.items())))
