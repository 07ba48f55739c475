"""Boxes: from the detector's map to places, from several readings of a place to one box, and their blanking."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy import ndimage

Kind = Literal["text", "marker"]
CORE = 0.3  # probability above which a pixel belongs to the core of a line
GROW = 1.6  # a core is the line shrunk; its box grows back by GROW * area / perimeter
LEAST_CORE = 12  # scaled pixels of a core
SAME_PLACE = 0.3  # common area over the smaller box's, above which two readings are of one place


@dataclass(frozen=True)
class Place:
    """What the detector takes for a line: a box of floats and its mean probability."""

    top: float
    left: float
    bottom: float
    right: float
    score: float


@dataclass(frozen=True)
class TextBox:
    """Where text stands, in pixels (bottom and right excluded), and of which kind. What it says is not kept."""

    top: int
    left: int
    bottom: int
    right: int
    confidence: float  # 0 to 1: the recognizer's mean probability of the characters
    kind: Kind


def places(probability: np.ndarray) -> list[Place]:
    """The lines of a map [rows, columns] in [0, 1], as upright boxes in its pixels.

    Source: Liao et al. 2020, Real-time Scene Text Detection with Differentiable Binarization, section 3.5.
    """
    labels, count = ndimage.label(probability > CORE, structure=np.ones((3, 3)))
    if not count:
        return []
    areas = np.bincount(labels.ravel(), minlength=count + 1)[1:]
    scores = ndimage.mean(probability, labels, np.arange(1, count + 1))
    found = []
    for area, score, (rows, columns) in zip(areas, scores, ndimage.find_objects(labels), strict=True):
        if area >= LEAST_CORE:
            tall, long = rows.stop - rows.start, columns.stop - columns.start
            grow = GROW * tall * long / (2 * (tall + long))
            found.append(
                Place(rows.start - grow, columns.start - grow, rows.stop + grow, columns.stop + grow, float(score))
            )
    return found


def merged(boxes: Sequence[TextBox]) -> list[TextBox]:
    """One box for each place, however often it was read; from top to bottom."""
    groups: list[list[TextBox]] = []
    for box in boxes:
        joined = [group for group in groups if any(_overlap(box, other) > SAME_PLACE for other in group)]
        groups = [group for group in groups if group not in joined]
        groups.append([box, *(other for group in joined for other in group)])
    united = [
        TextBox(
            min(box.top for box in group),
            min(box.left for box in group),
            max(box.bottom for box in group),
            max(box.right for box in group),
            max(box.confidence for box in group),
            _kind(group),
        )
        for group in groups
    ]
    return sorted(united, key=lambda box: (box.top, box.left, box.bottom, box.right))


def _kind(group: Sequence[TextBox]) -> Kind:
    """A place is text if any reading says so, save a worse reading of a marker that is no wider than the marker."""
    markers = [box for box in group if box.kind == "marker"]
    texts = [box for box in group if box.kind == "text"]
    if not markers or not texts:
        return group[0].kind
    best = max(markers, key=lambda box: box.confidence)
    width = max(box.right - box.left for box in markers)
    overruled = all(box.confidence < best.confidence and box.right - box.left <= 1.3 * width for box in texts)
    return "marker" if overruled else "text"


def _overlap(a: TextBox, b: TextBox) -> float:
    tall = min(a.bottom, b.bottom) - max(a.top, b.top)
    long = min(a.right, b.right) - max(a.left, b.left)
    if tall <= 0 or long <= 0:
        return 0.0
    return tall * long / min((a.bottom - a.top) * (a.right - a.left), (b.bottom - b.top) * (b.right - b.left))


def blank(pixels: np.ndarray, boxes: Sequence[TextBox]) -> np.ndarray:
    """A copy in which each box, with a margin, has one value: the median of a ring around it, of each channel.

    One value cannot carry a letter's shape. Pixels of other boxes are left out of the ring; where nothing else is
    left, the image's lowest value fills.
    """
    blanked = pixels.copy()
    areas = [_with_margin(box, pixels.shape) for box in boxes]
    covered = np.zeros(pixels.shape[:2], bool)
    for area in areas:
        covered[area] = True
    for rows, columns in areas:
        ring = np.s_[max(0, rows.start - 3) : rows.stop + 3, max(0, columns.start - 3) : columns.stop + 3]
        around = pixels[ring][~covered[ring]]
        fill = np.median(around, axis=0) if len(around) else pixels.min(axis=(0, 1))
        blanked[rows, columns] = np.asarray(fill).astype(pixels.dtype)
    return blanked


def _with_margin(box: TextBox, shape: tuple[int, ...]) -> tuple[slice, slice]:
    margin = 2 + math.ceil(0.15 * min(box.bottom - box.top, box.right - box.left))
    return (
        slice(max(0, box.top - margin), min(shape[0], box.bottom + margin)),
        slice(max(0, box.left - margin), min(shape[1], box.right + margin)),
    )
