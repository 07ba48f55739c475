"""How a copy may be changed, for `benchmarks/copy_detector.py`: those that tuning may look at, and those held out.

Every change takes an 8-bit image, a stranger's image of the same shape and a generator, and keeps shape and dtype.
Lengths are shares of the image's side, so that a strength means the same at every size.
"""

import io
from collections.abc import Callable

import numpy as np
from PIL import Image
from scipy import ndimage

from synthcohort.evaluation.planted import blended, brightened, cropped, mirrored, noised, turned, with_gamma
from synthcohort.imaging.geometry import resize
from synthcohort.imaging.intensity import ValueRange

VALUES = ValueRange(0, 255)
Change = Callable[[np.ndarray, np.ndarray, np.random.Generator], np.ndarray]


def stored(values: np.ndarray) -> np.ndarray:
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


def each_channel(image: np.ndarray, work: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """`work` done on every channel."""
    if image.ndim == 2:
        return stored(work(image.astype(np.float64)))
    return stored(np.stack([work(image[..., c].astype(np.float64)) for c in range(image.shape[2])], -1))


def jpeg(image: np.ndarray, quality: int) -> np.ndarray:
    """Through a JPEG file of this quality."""
    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=quality)
    return np.asarray(Image.open(file))


def moved(image: np.ndarray, at: Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    """Every pixel taken from another place; `at` maps rows and columns in [-1, 1] to where they are taken from."""
    rows, columns = image.shape[:2]
    y, x = np.meshgrid(np.linspace(-1, 1, rows), np.linspace(-1, 1, columns), indexing="ij")
    y, x = at(y, x)
    where = np.stack([(y + 1) / 2 * (rows - 1), (x + 1) / 2 * (columns - 1)])
    return each_channel(image, lambda plane: ndimage.map_coordinates(plane, where, order=3, mode="nearest"))


def affine(image: np.ndarray, matrix: tuple[tuple[float, float], tuple[float, float]], shift=(0.0, 0.0)) -> np.ndarray:
    (a, b), (c, d) = matrix
    return moved(image, lambda y, x: (a * y + b * x + shift[0], c * y + d * x + shift[1]))


def elastic(image: np.ndarray, share: float, generator: np.random.Generator) -> np.ndarray:
    """A smooth random displacement of `share` of the side (root mean square), over an eighth of the side."""
    shape = image.shape[:2]
    fields = [ndimage.gaussian_filter(generator.normal(size=shape), [side / 8 for side in shape]) for _ in range(2)]
    fields = [field / field.std() * 2 * share / np.sqrt(2) for field in fields]
    return moved(image, lambda y, x: (y + fields[0], x + fields[1]))


def tilted(image: np.ndarray, share: float, generator: np.random.Generator) -> np.ndarray:
    """Seen from a little aside: one side shorter by `share`."""
    k = share / 2 * generator.choice([-1, 1])
    return moved(image, lambda y, x: (y * (1 + k * x), x))


def sharpened(image: np.ndarray, amount: float) -> np.ndarray:
    side = max(image.shape[:2])
    return each_channel(image, lambda p: p + amount * (p - ndimage.gaussian_filter(p, side / 100)))


def blurred(image: np.ndarray, share: float) -> np.ndarray:
    side = max(image.shape[:2])
    return each_channel(image, lambda plane: ndimage.gaussian_filter(plane, share * side))


def rewindowed(image: np.ndarray, low: float, high: float) -> np.ndarray:
    """Quantiles `low` and `high` of the image become black and white; what lies beyond is cut."""
    bottom, top = np.quantile(image, [low, high])
    return stored((image.astype(np.float64) - bottom) * (255 / max(top - bottom, 1.0)))


def sigmoid_window(image: np.ndarray) -> np.ndarray:
    """The SIGMOID window of DICOM around the image's mean, two standard deviations to each side."""
    center, width = float(image.mean()), 4 * float(image.std()) + 1.0
    return stored(255 / (1 + np.exp(-4 * (image.astype(np.float64) - center) / width)))


def lit(image: np.ndarray, share: float, generator: np.random.Generator) -> np.ndarray:
    """Lit unevenly: a smooth gain, `share` stronger at one end than at the other."""
    angle = generator.uniform(0, 2 * np.pi)
    y, x = np.meshgrid(*(np.linspace(-1, 1, side) for side in image.shape[:2]), indexing="ij")
    gain = 1 + share / 2 * (np.cos(angle) * x + np.sin(angle) * y)
    return stored(image * (gain if image.ndim == 2 else gain[..., None]))


def speckled(image: np.ndarray, share: float, generator: np.random.Generator) -> np.ndarray:
    """Multiplicative noise."""
    return stored(image * (1 + generator.normal(0, share, image.shape)))


def salted(image: np.ndarray, share: float, generator: np.random.Generator) -> np.ndarray:
    """A share of the pixels black or white."""
    result = image.copy()
    hit = generator.random(image.shape[:2]) < share
    result[hit] = np.where(generator.random(int(hit.sum())) < 0.5, 0, 255)[(...,) + (None,) * (image.ndim - 2)]
    return result


def smaller(image: np.ndarray, share: float) -> np.ndarray:
    """Reduced to `share` of its side and enlarged again."""
    rows, columns = image.shape[:2]
    return resize(resize(image, max(4, round(rows * share)), max(4, round(columns * share))), rows, columns)


def patched(image: np.ndarray, share: float, generator: np.random.Generator) -> np.ndarray:
    """A black square over `share` of the area, somewhere."""
    rows, columns = (max(1, round(side * share**0.5)) for side in image.shape[:2])
    top, left = generator.integers(0, image.shape[0] - rows + 1), generator.integers(0, image.shape[1] - columns + 1)
    result = image.copy()
    result[top : top + rows, left : left + columns] = 0
    return result


def sign(generator: np.random.Generator) -> float:
    return float(generator.choice([-1.0, 1.0]))


def _several_tuned(image: np.ndarray, other: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    image = cropped(turned(mirrored(image), generator.uniform(-5, 5)), generator.uniform(0, 0.08), generator)
    return noised(with_gamma(image, VALUES, float(np.exp(generator.uniform(-0.4, 0.4)))), VALUES, 0.02, generator)


def _several_geometric(image: np.ndarray, other: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    return elastic(cropped(turned(mirrored(image), 5 * sign(generator)), 0.08, generator), 0.008, generator)


def _several_photometric(image: np.ndarray, other: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    return jpeg(speckled(rewindowed(lit(image, 0.4, generator), 0.02, 0.98), 0.03, generator), 50)


def _several_all(image: np.ndarray, other: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    image = cropped(turned(mirrored(image), generator.uniform(-5, 5)), 0.05, generator)
    return jpeg(noised(rewindowed(image, 0.01, 0.99), VALUES, 0.02, generator), 60)


def _several_blended(image: np.ndarray, other: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    image = cropped(turned(image, 3 * sign(generator)), 0.04, generator)
    return jpeg(blended(mirrored(image), other, 0.75, VALUES), 60)


TUNING: dict[str, Change] = {
    "mirrored": lambda image, other, g: mirrored(image),
    "turned by 3 degrees": lambda image, other, g: turned(image, 3 * sign(g)),
    "cropped by 5 %": lambda image, other, g: cropped(image, 0.05, g),
    "brightened": lambda image, other, g: brightened(image, VALUES),
    "gamma 0.7": lambda image, other, g: with_gamma(image, VALUES, 0.7),
    "noise of 2 %": lambda image, other, g: noised(image, VALUES, 0.02, g),
    "blurred by 0.6 %": lambda image, other, g: blurred(image, 0.006),
    "blended, 80 %": lambda image, other, g: blended(image, other, 0.8, VALUES),
    "blended, 70 %": lambda image, other, g: blended(image, other, 0.7, VALUES),
    "stretched by 4 % one way": lambda image, other, g: affine(image, ((0.96, 0.0), (0.0, 1.0))),
    "several, tuning": _several_tuned,
}

HELD_OUT: dict[str, Change] = {
    "turned by 5 degrees": lambda image, other, g: turned(image, 5 * sign(g)),
    "cropped by 8 %": lambda image, other, g: cropped(image, 0.08, g),
    "mirrored, turned by 5 degrees, cropped by 8 %": lambda image, other, g: cropped(
        turned(mirrored(image), 5 * sign(g)), 0.08, g
    ),
    "sheared by 4 degrees": lambda image, other, g: affine(image, ((1.0, 0.07 * sign(g)), (0.0, 1.0))),
    "tilted by 8 %": lambda image, other, g: tilted(image, 0.08, g),
    "shrunk by 5 %, border repeated": lambda image, other, g: affine(image, ((1 / 0.95, 0.0), (0.0, 1 / 0.95))),
    "shifted by 5 %, border repeated": lambda image, other, g: affine(
        image, ((1.0, 0.0), (0.0, 1.0)), (0.1 * sign(g), 0.1 * sign(g))
    ),
    "elastic, 1 % of the side": lambda image, other, g: elastic(image, 0.01, g),
    "contrast x 0.6": lambda image, other, g: stored((image - 127.5) * 0.6 + 127.5),
    "re-windowed, 3 % cut at each end": lambda image, other, g: rewindowed(image, 0.03, 0.97),
    "sigmoid window": lambda image, other, g: sigmoid_window(image),
    "gamma 1.5": lambda image, other, g: with_gamma(image, VALUES, 1.5),
    "lit unevenly by 50 %": lambda image, other, g: lit(image, 0.5, g),
    "speckle of 5 %": lambda image, other, g: speckled(image, 0.05, g),
    "noise of 4 %": lambda image, other, g: noised(image, VALUES, 0.04, g),
    "salt and pepper, 1 % of pixels": lambda image, other, g: salted(image, 0.01, g),
    "JPEG, quality 60": lambda image, other, g: jpeg(image, 60),
    "JPEG, quality 30": lambda image, other, g: jpeg(image, 30),
    "reduced by half and enlarged": lambda image, other, g: smaller(image, 0.5),
    "sharpened": lambda image, other, g: sharpened(image, 1.0),
    "black square over 5 %": lambda image, other, g: patched(image, 0.05, g),
    "blended, 75 %, the other mirrored": lambda image, other, g: blended(image, mirrored(other), 0.75, VALUES),
    "blended, 70 %, itself mirrored": lambda image, other, g: blended(mirrored(image), other, 0.7, VALUES),
    "several, geometric": _several_geometric,
    "several, photometric": _several_photometric,
    "several, mirrored, turned, cropped, re-windowed, noise, JPEG": _several_all,
    "several, turned, cropped, blended 75 %, JPEG": _several_blended,
}
