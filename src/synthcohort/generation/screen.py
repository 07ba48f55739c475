"""The copy screen: an image that looks too much like a training image is replaced before anything is written."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from synthcohort.core.errors import ArtifactError, Problem
from synthcohort.core.seeds import seed_from
from synthcohort.imaging.intensity import ValueRange, to_unit
from synthcohort.learning.search import CopyIndex


@dataclass(frozen=True)
class ScreenedOut:
    """One image that was not kept; `replaced` is False when no try was left and the cohort lacks the image."""

    image_id: str
    seed: int
    similarity: float
    replaced: bool


class Screen:
    """The training images' indexes of a run; an image is a near copy when any of them says so."""

    def __init__(self, folder: Path, value_range: ValueRange) -> None:
        self.indexes = [CopyIndex.open(path.parent) for path in sorted(folder.glob("*/index.json"))]
        if not self.indexes:
            raise ArtifactError(Problem(f"{folder}", "no features of the training images", remedy="train again"))
        self.value_range = value_range

    @property
    def thresholds(self) -> list[float]:
        return [index.threshold for index in self.indexes]

    def near_copies(self, images: Sequence[np.ndarray]) -> np.ndarray:
        """Similarity [N] of each image that exceeds a threshold, NaN of the others."""
        unit = [to_unit(image, self.value_range) for image in images]
        found = np.full(len(images), np.nan)
        for index in self.indexes:
            similarity = index.query(unit).similarity
            found = np.fmax(found, np.where(similarity > index.threshold, similarity, np.nan))
        return found


def image_seed(seed: int, number: int, attempt: int) -> int:
    """The seed of an image; each replacement has its own."""
    return seed_from("image", seed, number, attempt)


def screened_chunk(
    draw: Callable[[Sequence[Mapping[str, Any]], Sequence[int]], Sequence[np.ndarray]],
    screen: Screen | None,
    numbers: Sequence[int],
    conditions: Sequence[Mapping[str, Any]],
    seed: int,
    tries: int,
) -> tuple[dict[int, tuple[np.ndarray, int]], list[ScreenedOut]]:
    """Draws the images of `numbers` and replaces near copies up to `tries` times.

    Returns {number: (image, seed)} and what was not kept.
    """
    kept: dict[int, tuple[np.ndarray, int]] = {}
    out: list[ScreenedOut] = []
    asked = dict(zip(numbers, conditions, strict=True))
    for attempt in range(tries + 1):
        if not asked:
            break
        seeds = [image_seed(seed, number, attempt) for number in asked]
        images = draw(list(asked.values()), seeds)
        similarity = screen.near_copies(images) if screen is not None else np.full(len(images), np.nan)
        again = {}
        for number, image, image_seed_, value in zip(list(asked), images, seeds, similarity, strict=True):
            if np.isnan(value):
                kept[number] = (image, image_seed_)
            else:
                out.append(ScreenedOut(image_id(number), image_seed_, round(float(value), 4), attempt < tries))
                again[number] = asked[number]
        asked = again
    return kept, out


def image_id(number: int) -> str:
    return f"synthetic-{number:06d}"


def as_mappings(screened: Sequence[ScreenedOut]) -> list[dict[str, Any]]:
    return [asdict(item) for item in screened]
