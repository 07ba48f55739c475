"""Strips: an image, its edits in a row, and under each what changed."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from synthcohort.generation.edit import Edit
from synthcohort.models.checkpoint import ImageSpec
from synthcohort.models.condition import PROMPT
from synthcohort.pages.grids import display, sheet

TILE = 192  # pixels a side; a caption in its type size has room for about 27 letters
MOST_LETTERS = 27
STEADY = 128  # the gray of "no change" in a difference


def strip(edits: Sequence[Edit], old: Mapping[str, Any], spec: ImageSpec) -> bytes:
    """PNG: the original, then each edit, each with the condition it shows; below, the edit minus the original.

    A difference is mid-gray where nothing changed, and shown at twice its size on the scale of the image above.
    """
    window = None
    if spec.window_center is not None and spec.window_width is not None:
        window = (spec.window_center, spec.window_width)
    original = display(edits[0].original, window)
    shown = [display(edit.image, window) for edit in edits]
    captions = [f"original {_words(old, old)}", *(_words(edit.condition, old) for edit in edits)]
    images = [original, *shown, np.full_like(original, STEADY), *(_difference(image, original) for image in shown)]
    captions = [caption if len(caption) <= MOST_LETTERS else caption[: MOST_LETTERS - 1] + "…" for caption in captions]
    captions += ["", *("change" for _ in edits)]
    return sheet(images, columns=1 + len(edits), tile=TILE, captions=captions)


def _difference(image: np.ndarray, original: np.ndarray) -> np.ndarray:
    """Twice the change around mid-gray, uint8."""
    change = 2 * (image.astype(np.int16) - original.astype(np.int16)) + STEADY
    return np.clip(change, 0, 255).astype(np.uint8)


def _words(condition: Mapping[str, Any], old: Mapping[str, Any]) -> str:
    """What is said, the part that differs from the old condition alone where one does."""
    differing = {name: value for name, value in condition.items() if value != old.get(name)}
    said = {name: value for name, value in (differing or condition).items() if value is not None}
    return " ".join(str(value) if name == PROMPT else f"{name} {value}" for name, value in said.items())
