"""Directions in the latent space of a GAN: along which a reading of its images (severity, age, sex) changes most.

A *reading* is a number that a classifier or a person gives an image. Images are drawn under one condition, read, and
the readings regressed on their latent numbers, which are unit normal and independent: the regression is well posed.
Source: Shen et al. 2020 ("Interpreting the latent space of GANs", 1907.10786), with numbers in place of classes.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from synthcohort.core.errors import InputError, Problem
from synthcohort.core.seeds import seed_from
from synthcohort.models.gan_generator import GanGenerator, unit_latent

RIDGE = 1.0  # added to the sums of squares: as much as one more image for each latent number
FARTHEST = 6.0  # standard deviations that an edit may move: beyond it images are no more like any drawn one


@dataclass(frozen=True)
class Direction:
    """A unit vector [latent], how much the reading rises along it per unit, and how well that holds.

    explained  share of the readings' variance that the regression explains on images it was not fitted on
    """

    vector: np.ndarray
    slope: float
    explained: float

    def step(self, amount: float) -> np.ndarray:
        """The move that changes the reading by `amount`. Raises InputError where it would be too long to be true."""
        length = amount / self.slope if self.slope else float("inf")
        if abs(length) > FARTHEST:
            found = f"{abs(length):.1f} standard deviations of the latent numbers, to change the reading by {amount:g}"
            raise InputError(Problem("direction", found, f"up to {FARTHEST:g}", "ask for a smaller change"))
        return np.asarray(length * self.vector, dtype=np.float32)


def fit_direction(latents: np.ndarray, readings: np.ndarray) -> Direction:
    """The direction of latent numbers [N, L] along which readings [N] rise most.

    Fitted on all rows; `explained` comes from two halves, each told by the other. Raises ValueError for fewer images
    than twice the latent numbers, or readings that are not finite or all equal.
    """
    latents, readings = np.asarray(latents, np.float64), np.asarray(readings, np.float64)
    if len(latents) < 2 * latents.shape[1]:
        raise ValueError(f"{len(latents)} images; needed: {2 * latents.shape[1]} for {latents.shape[1]} latent numbers")
    if not np.isfinite(readings).all() or np.ptp(readings) == 0:
        raise ValueError("readings are not finite, or all equal")
    weights, _ = _ridge(latents, readings)
    half = np.arange(len(latents)) % 2 == 0
    left = sum(
        float(((readings[~own] - _told(latents[own], readings[own], latents[~own])) ** 2).sum())
        for own in (half, ~half)
    )
    slope = float(np.linalg.norm(weights))
    return Direction(weights / slope, slope, 1 - left / float(((readings - readings.mean()) ** 2).sum()))


def _ridge(latents: np.ndarray, readings: np.ndarray) -> tuple[np.ndarray, float]:
    centered, mean = latents - latents.mean(0), float(readings.mean())
    gram = centered.T @ centered + RIDGE * np.eye(latents.shape[1])
    weights = np.linalg.solve(gram, centered.T @ (readings - mean))
    return weights, mean - float(latents.mean(0) @ weights)


def _told(latents: np.ndarray, readings: np.ndarray, others: np.ndarray) -> np.ndarray:
    weights, offset = _ridge(latents, readings)
    return np.asarray(others @ weights + offset)


def apart(direction: Direction, others: Sequence[Direction]) -> Direction:
    """The direction without what it shares with others, so that their readings stay as they are.

    Raises ValueError when nothing is left of it.
    """
    basis, _ = np.linalg.qr(np.stack([other.vector for other in others], axis=1))
    rest = direction.vector - basis @ (basis.T @ direction.vector)
    length = float(np.linalg.norm(rest))
    if length < 1e-3:
        raise ValueError("the direction is a mixture of the others")
    return replace(direction, vector=rest / length, slope=direction.slope * length)


def find_direction(
    generator: GanGenerator,
    said: Mapping[str, Any],
    read: Callable[[Sequence[np.ndarray]], np.ndarray],
    count: int = 512,
    seed: int = 0,
) -> Direction:
    """The direction of a reading among images drawn under one condition; `read` gives one number an image.

    Raises InputError where the readings do not differ, or too few images are asked for.
    """
    seeds = [seed_from("direction", seed, i) for i in range(count)]
    images = list(generator.draw([said] * count, seeds))
    latents = np.stack([unit_latent(s, generator.network.config.latent).numpy() for s in seeds])
    try:
        return fit_direction(latents, np.asarray(read(images)))
    except ValueError as error:
        raise InputError(Problem("direction", str(error), remedy="draw more images, or read something else")) from error
