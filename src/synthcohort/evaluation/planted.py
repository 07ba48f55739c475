"""Planted copies: training images changed the way a leak may change them. The copy audit measures itself on them."""

from collections.abc import Callable

import numpy as np
from scipy import ndimage

from synthcohort.imaging.geometry import crop, resize
from synthcohort.imaging.intensity import ValueRange


def mirrored(image: np.ndarray) -> np.ndarray:
    """Left and right exchanged."""
    return image[:, ::-1].copy()


def turned(image: np.ndarray, degrees: float) -> np.ndarray:
    """Turned about its center, the border repeated outward; dtype and shape stay."""
    turn = ndimage.rotate(image.astype(np.float64), degrees, axes=(1, 0), reshape=False, order=3, mode="nearest")
    return np.clip(np.rint(turn), image.min(), image.max()).astype(image.dtype)


def cropped(image: np.ndarray, share: float, generator: np.random.Generator) -> np.ndarray:
    """`share` of rows and columns cut away, at a random place, and enlarged to the old shape."""
    rows, columns = (max(1, round(side * (1 - share))) for side in image.shape[:2])
    top, left = generator.integers(0, image.shape[0] - rows + 1), generator.integers(0, image.shape[1] - columns + 1)
    return resize(crop(image, int(top), int(left), rows, columns), *image.shape[:2])


def brightened(image: np.ndarray, value_range: ValueRange, gain: float = 1.2, offset: float = 0.05) -> np.ndarray:
    """Stronger and lighter, cut at the top of the value range; `offset` is a share of the range."""
    width = value_range.high - value_range.low
    bright = (image.astype(np.float64) - value_range.low) * gain + offset * width + value_range.low
    return _stored(bright, image, value_range)


def with_gamma(image: np.ndarray, value_range: ValueRange, gamma: float) -> np.ndarray:
    """Another gamma, as another display curve gives it."""
    width = value_range.high - value_range.low
    unit = np.clip((image.astype(np.float64) - value_range.low) / width, 0, 1)
    return _stored(unit**gamma * width + value_range.low, image, value_range)


def noised(image: np.ndarray, value_range: ValueRange, share: float, generator: np.random.Generator) -> np.ndarray:
    """White noise whose standard deviation is a share of the value range."""
    noise = generator.normal(0, share * (value_range.high - value_range.low), image.shape)
    return _stored(image + noise, image, value_range)


def blended(image: np.ndarray, other: np.ndarray, share: float, value_range: ValueRange) -> np.ndarray:
    """`share` of the image and the rest of another one of the same shape."""
    return _stored(share * image.astype(np.float64) + (1 - share) * other, image, value_range)


def _stored(values: np.ndarray, image: np.ndarray, value_range: ValueRange) -> np.ndarray:
    return np.clip(np.rint(values), value_range.low, value_range.high).astype(image.dtype)


Change = Callable[[np.ndarray, np.ndarray, ValueRange, np.random.Generator], np.ndarray]


def _alone(change: Callable[[np.ndarray, ValueRange, np.random.Generator], np.ndarray]) -> Change:
    """A change that needs no second image."""
    return lambda image, other, values, generator: change(image, values, generator)


def _blended(image: np.ndarray, other: np.ndarray, share: float, values: ValueRange) -> np.ndarray:
    """As `blended`, with another image of any shape of the same channels."""
    return blended(image, resize(other, *image.shape[:2]), share, values)


# What the policy's figures count as a copy: each takes the image, a stranger's, the value range and a generator.
KINDS: dict[str, Change] = {
    "mirrored": _alone(lambda image, values, generator: mirrored(image)),
    "turned by 3 degrees": _alone(lambda image, values, generator: turned(image, float(generator.choice([-3, 3])))),
    "cropped by 5 %": _alone(lambda image, values, generator: cropped(image, 0.05, generator)),
    "brightened": _alone(lambda image, values, generator: brightened(image, values)),
    "gamma 0.7": _alone(lambda image, values, generator: with_gamma(image, values, 0.7)),
    "noise of 2 %": _alone(lambda image, values, generator: noised(image, values, 0.02, generator)),
    "mirrored, turned by 5 degrees, cropped by 8 %": _alone(
        lambda image, values, generator: cropped(
            turned(mirrored(image), float(generator.choice([-5, 5]))), 0.08, generator
        )
    ),
    "blended with a stranger, 70 %": lambda image, other, values, generator: _blended(image, other, 0.7, values),
    "mirrored and blended, 80 %": lambda image, other, values, generator: _blended(mirrored(image), other, 0.8, values),
}
