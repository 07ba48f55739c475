"""The copy screen: an image that looks too much like a training image is replaced before anything is written."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from synthcohort.core.errors import ArtifactError, Problem
from synthcohort.core.seeds import seed_from
from synthcohort.imaging.intensity import to_unit
from synthcohort.learning.search import CopyIndex
from synthcohort.models.checkpoint import ImageSpec


@dataclass(frozen=True)
class ScreenedOut:
    """One image that was not kept; `replaced` is False when no try was left and the cohort lacks the image."""

    image_id: str
    seed: int
    similarity: float
    replaced: bool


class Screen:
    """The training images' indexes of a run; an image is a near copy when any index of its type says so.

    The indexes of image type k lie in `folder`/k/…, one for each of its cohorts.
    """

    def __init__(self, folder: Path, images: Sequence[ImageSpec]) -> None:
        self.ranges = {image.name: image.value_range for image in images}
        self.indexes = {
            image.name: [CopyIndex.open(path.parent) for path in sorted((folder / f"{k:02d}").glob("*/index.json"))]
            for k, image in enumerate(images)
        }
        for name, own in self.indexes.items():
            if not own:
                found = f"no features of the training images of {name}"
                raise ArtifactError(Problem(f"{folder}", found, remedy="train again"))

    @property
    def thresholds(self) -> dict[str, list[float]]:
        return {name: [index.threshold for index in own] for name, own in self.indexes.items()}

    def near_copies(self, images: Sequence[np.ndarray], types: Sequence[str]) -> np.ndarray:
        """Similarity [N] of each image that exceeds a threshold of its type, NaN of the others."""
        found = np.full(len(images), np.nan)
        for name in dict.fromkeys(types):
            rows = [i for i, kind in enumerate(types) if kind == name]
            unit = [to_unit(images[i], self.ranges[name]) for i in rows]
            for index in self.indexes[name]:
                similarity = index.query(unit).similarity
                found[rows] = np.fmax(found[rows], np.where(similarity > index.threshold, similarity, np.nan))
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
    types: Sequence[str],
) -> tuple[dict[int, tuple[np.ndarray, int]], list[ScreenedOut]]:
    """Draws the images of `numbers`, of these types, and replaces near copies up to `tries` times.

    Returns {number: (image, seed)} and what was not kept.
    """
    kept: dict[int, tuple[np.ndarray, int]] = {}
    out: list[ScreenedOut] = []
    asked = dict(zip(numbers, conditions, strict=True))
    type_of = dict(zip(numbers, types, strict=True))
    for attempt in range(tries + 1):
        if not asked:
            break
        seeds = [image_seed(seed, number, attempt) for number in asked]
        images = draw(list(asked.values()), seeds)
        similarity = np.full(len(images), np.nan)
        if screen is not None:
            similarity = screen.near_copies(images, [type_of[number] for number in asked])
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
