"""Planted damage: real images spoilt as a generator or a conversion may spoil them. The damage check learns from it.

Images are [N, rows, columns] or [N, rows, columns, 3], float in [0, 1]; each takes its own strength [N].
"""

import io
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from PIL import Image
from scipy import ndimage

Fault = Callable[[np.ndarray, float, np.random.Generator], np.ndarray]


def blurred(image: np.ndarray, sigma: float, generator: np.random.Generator) -> np.ndarray:
    """Gaussian blur; `sigma` in pixels."""
    return np.asarray(ndimage.gaussian_filter(image, (sigma, sigma) + (0,) * (image.ndim - 2), mode="nearest"))


def noised(image: np.ndarray, share: float, generator: np.random.Generator) -> np.ndarray:
    """White noise of each value; its standard deviation is a share of the value range."""
    return image + share * generator.standard_normal(image.shape, np.float32)


def sharpened(image: np.ndarray, amount: float, generator: np.random.Generator) -> np.ndarray:
    """Unsharp mask of one pixel."""
    return image + amount * (image - blurred(image, 1.0, generator))


def clipped(image: np.ndarray, share: float, generator: np.random.Generator) -> np.ndarray:
    """That share of the pixels cut to one value at one end of the image's own range, which is stretched to full."""
    low, high = np.quantile(image, (0.0, 1 - share) if generator.random() < 0.5 else (share, 1.0))
    return np.clip((image - low) / max(high - low, 1e-3), 0, 1) * (image.max() - image.min()) + image.min()


def striped(image: np.ndarray, amplitude: float, generator: np.random.Generator) -> np.ndarray:
    """An offset of its own for each row or each column; its standard deviation is a share of the value range."""
    along = int(generator.random() < 0.5)
    offsets = np.asarray(amplitude * generator.standard_normal(image.shape[along], np.float32))
    return image + offsets.reshape([-1 if axis == along else 1 for axis in range(image.ndim)])


def blocky(image: np.ndarray, strength: float, generator: np.random.Generator) -> np.ndarray:
    """JPEG at quality 100 - strength."""
    stored = np.rint(np.clip(image, 0, 1) * 255).astype(np.uint8)
    with io.BytesIO() as buffer:
        Image.fromarray(stored).save(buffer, "JPEG", quality=round(100 - strength))
        return np.asarray(Image.open(buffer), np.float32) / 255


def posterized(image: np.ndarray, coarseness: float, generator: np.random.Generator) -> np.ndarray:
    """Gray levels a step apart that is a share of the value range."""
    return np.rint(image / coarseness) * coarseness


@dataclass(frozen=True)
class Kind:
    """One kind of damage, from a trace to strong, and in words what an image that has it is."""

    word: str
    fault: Fault
    weakest: float
    strongest: float
    shown: float  # the strength at which the check says what it would have noticed
    unit: str  # the shown strength in words, with {} for the number


KINDS: dict[str, Kind] = {
    "blur": Kind("blurred", blurred, 0.4, 2.5, 0.8, "blur of {:g} pixels"),
    "noise": Kind("noisy", noised, 0.008, 0.12, 0.03, "noise of {:.0%} of the value range"),
    "sharpening": Kind("sharpened", sharpened, 0.4, 4.0, 1.5, "sharpening by {:g}"),
    "clipping": Kind("clipped", clipped, 0.03, 0.3, 0.1, "{:.0%} of the pixels clipped"),
    "stripes": Kind("striped", striped, 0.006, 0.1, 0.03, "stripes of {:.0%} of the value range"),
    "blocks": Kind("broken into blocks", blocky, 50, 95, 80, "JPEG at quality 20"),
    "steps": Kind(
        "reduced to few gray levels", posterized, 0.03, 0.15, 0.06, "gray levels {:.0%} of the value range apart"
    ),
}


def planted(
    images: np.ndarray, kind: str, generator: np.random.Generator, strength: float | None = None, levels: int = 255
) -> np.ndarray:
    """Images with one kind of damage, rounded to the depth they are stored at.

    `strength` None: each its own, log-uniform between the kind's weakest and strongest.
    """
    chosen = KINDS[kind]
    low, high = np.log(chosen.weakest), np.log(chosen.strongest)
    result = np.empty_like(images, np.float32)
    for number, image in enumerate(images):
        amount = float(np.exp(generator.uniform(low, high))) if strength is None else strength
        spoilt = chosen.fault(np.asarray(image, np.float32), amount, generator)
        result[number] = np.rint(np.clip(spoilt, 0, 1) * levels) / levels
    return result
