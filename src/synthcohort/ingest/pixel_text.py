"""Text burned into pixels: found by an OCR, told from laterality markers, and quarantined or blanked by policy.

Words: a *marker* says how the patient lay or which side is seen, from a closed list; all else that can be read is
*text*. What a text says is never kept, logged or returned.
"""

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

from synthcohort.core.errors import InputError, Problem
from synthcohort.ingest import pixel_text_model as model
from synthcohort.ingest.pixel_text_boxes import Kind, Place, TextBox, blank, merged, places
from synthcohort.ingest.pixel_text_views import Tile, tiles, views

__all__ = ["MARKERS", "Screened", "TextBox", "TextPolicy", "available", "blank", "find_text", "screen"]

MARKERS = frozenset(
    ("R", "L", "RT", "LT", "RIGHT", "LEFT", "AP", "PA", "LAT", "LATERAL", "OBL", "OBLIQUE", "RAO", "LAO", "RPO", "LPO")
    + ("ERECT", "UPRIGHT", "UP", "SUPINE", "PRONE", "SITTING", "STANDING", "WB", "DECUB", "DECUBITUS", "RLD", "LLD")
    + ("CC", "MLO", "RCC", "LCC", "RMLO", "LMLO", "INSP", "EXP")
)
LEAST_SCORE = 0.5  # of the detector
LEAST_HEIGHT = 4.0  # pixels of a box: letters of less than about 3 pixels cannot be read
MOST_HEIGHT = 0.35  # of the image's side (the root of its area): what is taller is anatomy
# How sure the recognizer must be. Single characters other than markers identify nobody and are mostly anatomy: a skull
# reads as 0. Real text reads well even when small; these figures are from the tuning half (docs/experiments).
SURE_OF_TWO, SURE_OF_MORE, SURE_OF_LONG, SURE_TURNED, SURE_OF_LETTER = 0.75, 0.65, 0.45, 0.8, 0.8
LONG = 2.5  # length over height of a line whose very shape speaks for text
# A line in a script that the recognizer was not taught: surely detected and long, whatever it reads as.
SURE_OF_SHAPE, LONG_SHAPE = 0.87, 2.9
UPRIGHT = 1.5  # a place that is not longer than this times its height is also read turned
ROUNDS = 2  # of blanking, before an image is given up


@dataclass(frozen=True)
class TextPolicy:
    """What is done with an image that carries text, and what markers count as."""

    text: Literal["quarantine", "blank"] = "quarantine"
    markers: Literal["keep", "blank", "text"] = "keep"  # text: as if they were text


@dataclass(frozen=True)
class Screened:
    """An image after screening: `pixels` is None when it is quarantined; `boxes` is what the original carries."""

    pixels: np.ndarray | None
    boxes: tuple[TextBox, ...]
    outcome: Literal["clean", "blanked", "quarantined"]  # clean: left as it was, kept markers included


def available() -> str | None:
    """None when text can be looked for; else what is missing and how to get it, in words for the user."""
    return model.missing()


def find_text(pixels: np.ndarray, window: tuple[float, float] | None = None) -> list[TextBox]:
    """Where text stands in an image of any size, from top to bottom.

    pixels: [rows, columns] uint8, uint16 or int16, or [rows, columns, 3] uint8. window: center and width in the units
    of the pixels; shown to the detector besides the image's own range. Raises InputError when the OCR is missing.
    """
    if (lacking := available()) is not None:
        raise InputError(Problem("burned-in text", "cannot be looked for", remedy=lacking))
    if pixels.dtype not in (np.uint8, np.uint16, np.int16) or not (pixels.ndim == 2 or pixels.shape[2:] == (3,)):
        raise ValueError(f"pixels of shape {pixels.shape} and type {pixels.dtype}")
    found: list[TextBox] = []
    for view in views(pixels, window):
        for tile in tiles(view):
            found.extend(_read_tile(tile, pixels.shape[:2]))
    return merged(found)


def screen(pixels: np.ndarray, policy: TextPolicy, window: tuple[float, float] | None = None) -> Screened:
    """The image as the policy lets it through. An image in which text is still found after blanking is quarantined."""
    boxes = find_text(pixels, window)
    bad = [box for box in boxes if box.kind == "text" or policy.markers == "text"]
    if bad and policy.text == "quarantine":
        return Screened(None, tuple(boxes), "quarantined")
    hidden = boxes if policy.markers == "blank" else bad
    if not hidden:
        return Screened(pixels, tuple(boxes), "clean")
    kept = policy.markers == "keep"
    for _ in range(ROUNDS):
        pixels = blank(pixels, hidden)
        hidden = [box for box in find_text(pixels, window) if box.kind == "text" or not kept]
        if not hidden:
            return Screened(pixels, tuple(boxes), "blanked")
    return Screened(None, tuple(boxes), "quarantined")


def _read_tile(tile: Tile, shape: tuple[int, ...]) -> list[TextBox]:
    """The boxes of one tile, in pixels of the image."""
    found = []
    most = MOST_HEIGHT * math.sqrt(shape[0] * shape[1])
    for place in places(model.text_map(tile.image)):
        top, bottom = (max(0.0, (edge + tile.top) / tile.scale[0]) for edge in (place.top, place.bottom))
        left, right = (max(0.0, (edge + tile.left) / tile.scale[1]) for edge in (place.left, place.right))
        height = min(bottom - top, right - left)
        if place.score < LEAST_SCORE or not LEAST_HEIGHT <= height <= most:
            continue
        confidence, kind = max((_judged(*reading) for reading in _readings(place, tile)), key=lambda item: item[0])
        length = max(bottom - top, right - left)
        if kind is None and place.score >= SURE_OF_SHAPE and length >= LONG_SHAPE * height:
            confidence, kind = place.score, "text"
        if kind is not None:
            bottom, right = min(shape[0], math.ceil(bottom)), min(shape[1], math.ceil(right))
            found.append(TextBox(math.floor(top), math.floor(left), bottom, right, round(confidence, 3), kind))
    return found


def _readings(place: Place, tile: Tile) -> list[tuple[str, float, float, bool]]:
    """What the place reads as: characters, their probability, length over height, and whether it had to be turned."""
    top, left = max(0, round(place.top)), max(0, round(place.left))
    part = tile.image[top : round(place.bottom), left : round(place.right)]
    ratio = part.shape[1] / part.shape[0]
    # Lead letters lie as they were laid down, so square places are turned too, but only markers are believed there.
    turns = (0,) if ratio > UPRIGHT else (0, 1, 2, 3) if ratio > 1 / UPRIGHT else (0, 1, 3)
    turned = [np.ascontiguousarray(np.rot90(part, turn)) for turn in turns]
    return [
        (*reading, line.shape[1] / line.shape[0], turn != 0)
        for turn, line, reading in zip(turns, turned, model.read_lines(turned), strict=True)
    ]


def _judged(characters: str, sure: float, ratio: float, turned: bool) -> tuple[float, Kind | None]:
    """How sure the reading is, and what it is: None when it is no text at all (then 0)."""
    words = "".join(c if c.isalnum() else " " for c in characters.upper()).split()
    count = sum(len(word) for word in words)
    if words and all(word in MARKERS for word in words):
        return (sure, "marker") if sure >= (SURE_OF_LETTER if count == 1 else SURE_OF_TWO) else (0.0, None)
    if count < 2 or (turned and ratio < UPRIGHT):
        return 0.0, None
    needed = SURE_OF_TWO if count == 2 else SURE_OF_MORE
    if turned:
        needed = max(needed, SURE_TURNED)
    elif count >= 4 and ratio > LONG:
        needed = SURE_OF_LONG
    return (sure, "text") if sure >= needed else (0.0, None)
