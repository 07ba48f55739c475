"""Canaries: images with a mark that occurs nowhere else, planted among training images to see what a generator keeps.

A mark is a grid of smooth bumps, each lighter or darker at random: with 6 x 6 of them there are 2^36 marks, and all are
alike in what they ask of a model. A canary is a training image with a mark on it. Other marks on the same image are its
*candidates*: a model that learned the mark by heart prefers it to them, and one that did not can't tell them apart.
Source: Carlini et al. 2019 (1802.08232), whose canaries are sentences with random numbers.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from synthcohort.core.errors import ConfigError, Problem
from synthcohort.core.seeds import rng
from synthcohort.imaging.intensity import ValueRange

PLANTED = 0  # number of the mark that is planted; candidates are numbered from 1
LEAST_CANARIES = 8  # with fewer the audit decides nothing


@dataclass(frozen=True)
class CanaryConfig:
    """Which canaries a training plants. Together with the training images it says all there is to know of them."""

    count: int = 0  # training images of each cohort that get a mark; 0 plants none
    repeats: int = 1  # how many times as often as another image each is trained on
    strength: float = 0.1  # height of a bump as a share of the value range
    cells: int = 6  # bumps on each side
    seed: int = 0

    def __post_init__(self) -> None:
        problems = []
        if self.count < 0 or self.repeats < 1 or not 3 <= self.cells <= 16:
            found = f"count {self.count}, repeats {self.repeats}, cells {self.cells}"
            problems.append(Problem("setting canaries", found, "count 0 or more, repeats 1 or more, cells 3 to 16"))
        if not 0 < self.strength <= 0.5:
            problems.append(Problem("setting canaries.strength", str(self.strength), "above 0, at most 0.5"))
        if problems:
            raise ConfigError(*problems)


def canary_hosts(image_ids: Sequence[str], config: CanaryConfig) -> np.ndarray:
    """Positions of the training images that get a mark: [count] int64. They depend on the ids, not on their order."""
    order = sorted(range(len(image_ids)), key=lambda i: image_ids[i])
    chosen = rng("canary hosts", config.seed).permutation(len(order))[: config.count]
    return np.array([order[i] for i in chosen], np.int64)


def mark(shape: tuple[int, int], image_id: str, number: int, config: CanaryConfig) -> np.ndarray:
    """Mark `number` of a host: [rows, columns] float64 between about -1 and 1, of mean about 0."""
    signs = rng("canary", config.seed, image_id, number).permutation(
        np.resize([-1.0, 1.0], config.cells**2)  # as many light as dark ones: no mark is brighter than another
    )
    signs = signs.reshape(config.cells, config.cells)
    profiles = []
    for size in shape:
        place = (np.arange(size) + 0.5) / size * config.cells
        distance = place[:, None] - (np.arange(config.cells) + 0.5)[None, :]
        profiles.append(np.exp(-(distance**2) / (2 * 0.3**2)))
    return np.asarray(profiles[0] @ signs @ profiles[1].T)


def canary(
    image: np.ndarray, image_id: str, value_range: ValueRange, config: CanaryConfig, number: int = PLANTED
) -> np.ndarray:
    """The host with mark `number` on it, in its own dtype and shape; a pure function of its arguments."""
    bumps = mark(image.shape[:2], image_id, number, config)
    if image.ndim == 3:
        bumps = bumps[:, :, None]
    marked = image.astype(np.float64) + config.strength * (value_range.high - value_range.low) * bumps
    return np.clip(np.rint(marked), value_range.low, value_range.high).astype(image.dtype)
