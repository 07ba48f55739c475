"""What an image is recognized by when it comes back changed: a thumbnail, and a description that turning leaves alone.

Words: the *thumbnail* is the whole image, stretched to a square; a *view* is the square of it that is compared, with
coordinates (x, y) in [-1, 1]; *detail* is a view without brightness and contrast; *harmonics* are the circular Fourier
coefficients of detail, ring by ring; *invariants* are numbers made of them that no turn and no mirror changes.

Shape suffixes: N images, S rows and columns, C harmonics of all rings, D invariants.
"""

from dataclasses import dataclass
from functools import cache

import numpy as np

SIDE = 48  # rows and columns of a thumbnail, and of fine detail
COARSE = 24  # of coarse detail
SAMPLES = 160  # rows and columns looked at in a large image, at least
VECTOR_SIZE = 1  # float16 numbers of a fingerprint's vector
FINE_BAND = (0.6, 1.7)  # blurs, in pixels, that detail lies between
COARSE_BAND = (0.5, 1.6)
LEAST = 0.02  # strength of detail, of a range of 2, that counts as none
FINE_CLIP, COARSE_CLIP = 0.4, 4.0  # detail beyond is cut: fine detail low, so that no rim or marker decides alone
RADII = np.array([0.12, 0.20, 0.29, 0.38, 0.47, 0.56, 0.65, 0.74, 0.83])  # rings, of half a view's side
RING = 0.04  # standard deviation of a ring's profile
HARMONICS = 14  # of a ring, the constant one included
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601
_FEW = SIDE * SIDE // 100


@dataclass(frozen=True)
class Fingerprint:
    """A small picture of an image, and its shape: what near-duplicates are found by.

    vector      [1] float16: log2 of columns / rows
    thumbnail   [48, 48] uint8: area means; 0 and 255 are the image's own darkest and brightest hundredth
    """

    vector: np.ndarray
    thumbnail: np.ndarray


def fingerprint(pixels: np.ndarray) -> Fingerprint:
    """The fingerprint of an image of any size and integer type: [rows, columns] or [rows, columns, 3].

    Of large images every n-th row and column is looked at, so that it takes a fraction of a millisecond at any size.
    """
    rows, columns = pixels.shape[:2]
    if min(rows, columns) < 1:
        raise ValueError(f"no fingerprint of an image of shape {pixels.shape}")
    step = max(1, min(rows, columns) // SAMPLES)
    seen = pixels[step // 2 :: step, step // 2 :: step]
    gray = np.asarray(seen, np.float32) if seen.ndim == 2 else seen.astype(np.float32) @ _LUMA
    small = _area_means(gray.shape[0], SIDE) @ gray @ _area_means(gray.shape[1], SIDE).T
    flat = np.partition(small, (_FEW, small.size - 1 - _FEW), axis=None)
    low, high = float(flat[_FEW]), float(flat[-1 - _FEW])
    flat_span = 1e-5 * max(1.0, abs(low), abs(high))  # what rounding makes of a constant image
    scaled = (small - low) * (255.0 / (high - low)) if high - low > flat_span else np.zeros_like(small)
    vector = np.array([np.log2(columns / rows)], np.float16)
    return Fingerprint(vector, np.rint(scaled.clip(0.0, 255.0)).astype(np.uint8))


@cache
def _area_means(size: int, target: int) -> np.ndarray:
    """The matrix [target, size] that averages a line's pixels over equal stretches, parts of pixels by their share."""
    edges = np.linspace(0.0, size, target + 1)
    starts = np.arange(size)
    overlap = np.minimum(edges[1:, None], starts + 1) - np.maximum(edges[:-1, None], starts)
    weights = overlap.clip(min=0.0)
    return np.asarray(weights / weights.sum(1, keepdims=True), np.float32)


def central_squares(thumbnails_NSS: np.ndarray, aspect_N: np.ndarray) -> np.ndarray:
    """The square in the middle of each image in its true proportions, float32; `aspect` is log2 of columns / rows."""
    views = np.array(thumbnails_NSS, np.float32)
    for aspect in np.unique(aspect_N):
        at = np.flatnonzero(aspect_N == aspect)
        matrix = _middle(2.0 ** -abs(float(aspect)))
        if aspect > 0:
            views[at] = views[at] @ matrix.T
        elif aspect < 0:
            views[at] = matrix @ views[at]
    return views


def _middle(share: float) -> np.ndarray:
    """The matrix [SIDE, SIDE] that stretches the middle `share` of a line over the whole, by linear interpolation."""
    at = ((np.arange(SIDE) + 0.5) / SIDE - 0.5) * share * SIDE + SIDE / 2 - 0.5
    return np.maximum(0.0, 1.0 - np.abs(at[:, None] - np.arange(SIDE))).astype(np.float32)


def detail(x_NSS: np.ndarray, fine: float, wide: float) -> np.ndarray:
    """The band between two blurs (in pixels) over its local strength: brightness, contrast and gamma fall out."""
    band = _blur(x_NSS, fine) - _blur(x_NSS, wide)
    strength = np.sqrt(_blur(band * band, 1.5 * wide))
    return np.asarray(band / (strength + np.float32(LEAST)))


def fine_detail(views_NSS: np.ndarray) -> np.ndarray:
    """Detail of views in 0..255, packed: [N, 48, 48] int8."""
    return _packed(detail(views_NSS / np.float32(127.5), *FINE_BAND), FINE_CLIP)


def coarse_detail(views_NSS: np.ndarray) -> np.ndarray:
    """Detail of views in 0..255 at half their size, packed: [N, 24, 24] int8."""
    small = views_NSS[:, ::2, ::2] + views_NSS[:, ::2, 1::2]
    small += views_NSS[:, 1::2, ::2] + views_NSS[:, 1::2, 1::2]
    small /= 4
    return _packed(detail(small / np.float32(127.5), *COARSE_BAND), COARSE_CLIP)


def _packed(detail_NSS: np.ndarray, clip: float) -> np.ndarray:
    return np.rint(np.clip(detail_NSS / np.float32(clip), -1, 1) * 127).astype(np.int8)


def unpacked(packed_NSS: np.ndarray) -> np.ndarray:
    """Packed detail as float32 in [-1, 1], in units of where it was cut."""
    return packed_NSS.astype(np.float32) / np.float32(127)


def _blur(x_NSS: np.ndarray, sigma: float) -> np.ndarray:
    matrix = _blur_matrix(x_NSS.shape[-1], sigma)
    return np.asarray(matrix @ (x_NSS @ matrix.T))


@cache
def _blur_matrix(size: int, sigma: float) -> np.ndarray:
    """The Gaussian blur of a line, border repeated: [size, size]."""
    radius = max(1, int(np.ceil(2.5 * sigma)))
    steps = np.arange(-radius, radius + 1)
    kernel = np.exp(-0.5 * (steps / sigma) ** 2)
    matrix = np.zeros((size, size))
    np.add.at(
        matrix,
        (np.arange(size)[:, None], np.clip(np.arange(size)[:, None] + steps, 0, size - 1)),
        kernel / kernel.sum(),
    )
    return matrix.astype(np.float32)


def _layout() -> tuple[np.ndarray, np.ndarray]:
    """Which harmonic of which ring each coefficient is: harmonic by harmonic, rings outward.

    Near the center few pixels make a ring: it has no fast harmonics.
    """
    m, r = np.meshgrid(np.arange(HARMONICS), np.arange(len(RADII)), indexing="ij")
    there = m <= RADII[r] * COARSE * 0.8
    return m[there], r[there]


HARMONIC, _RING = _layout()
COEFFICIENTS = len(HARMONIC)
_CONSTANT = len(RADII)  # the first coefficients are the rings' constants
_INNER = np.flatnonzero((HARMONIC[1:] == HARMONIC[:-1]) & (HARMONIC[1:] > 0))  # those with a neighbor further out


@cache
def harmonic_basis(scale: float = 1.0, x: float = 0.0, y: float = 0.0) -> np.ndarray:
    """Circular harmonics of the square of this scale around (x, y): [2, C, 24 * 24] float32, for coarse detail.

    So scaled that the product of two images' harmonics is about their correlation over the disc.
    """
    line = (np.arange(COARSE) * 2 + 1) / COARSE - 1
    v, u = np.meshgrid((line - y) / scale, (line - x) / scale, indexing="ij")
    rho, phi = np.hypot(u, v).ravel(), np.arctan2(v, u).ravel()
    profile = np.exp(-0.5 * ((rho - RADII[:, None]) / RING) ** 2)
    profile *= (np.sqrt(RADII) / np.sqrt((profile**2).sum(1)))[:, None]
    turning = np.where(HARMONIC > 0, np.sqrt(2), 1.0)[:, None] * np.exp(-1j * HARMONIC[:, None] * phi)
    basis = profile[_RING] * turning
    return np.stack([basis.real, basis.imag]).astype(np.float32)


def harmonics(coarse_NSS: np.ndarray, basis: np.ndarray) -> np.ndarray:
    """Circular harmonics of coarse detail (float32), real and imaginary parts: [2, C, N] float32."""
    flat = coarse_NSS.reshape(len(coarse_NSS), -1)
    return np.asarray(basis.reshape(-1, flat.shape[1]) @ flat.T).reshape(2, -1, len(flat))


def harmonics_of_corners(coarse_NSS: np.ndarray, scales: tuple[float, ...]) -> np.ndarray:
    """Harmonics of the squares of these scales in each corner: [scales * 4, 2, C, N] float32.

    Corners lie at (x, y) = (-, -), (-, +), (+, -), (+, +). What one corner shows is what its opposite shows of the
    mirrored image, so that what is even and what is odd of the image along both axes is looked at once for all four.
    """
    N, C = len(coarse_NSS), COEFFICIENTS
    parts = [
        half
        for rows in _even_and_odd(coarse_NSS, axis=1)
        for half in _even_and_odd(rows, axis=2)
    ]  # fmt: skip
    seen = [basis @ part.reshape(N, -1).T for basis, part in zip(_corner_basis(scales), parts, strict=True)]
    along_x = seen[0] + seen[1], seen[2] + seen[3]
    against_x = seen[0] - seen[1], seen[2] - seen[3]
    result = np.empty((len(scales), 4, 2, C, N), np.float32)
    for corner, (even, odd, combine) in enumerate(
        ((*along_x, np.add), (*along_x, np.subtract), (*against_x, np.add), (*against_x, np.subtract))
    ):
        shape = (len(scales), 2, C, N)
        combine(even.reshape(shape), odd.reshape(shape), out=result[:, corner])
    result[:, 1:3, 1] *= -1  # a mirror conjugates
    result[:, 2:] *= np.where(HARMONIC % 2, -1, 1).astype(np.float32)[:, None]  # and along x it turns by half
    return result.reshape(-1, 2, C, N)


def _even_and_odd(x: np.ndarray, axis: int) -> tuple[np.ndarray, np.ndarray]:
    """The parts of a line that its mirror image has too, and with the other sign: the first half of each."""
    half = x.shape[axis] // 2
    first = x[:, :half] if axis == 1 else x[:, :, :half]
    last = np.flip(x, axis)[:, :half] if axis == 1 else np.flip(x, axis)[:, :, :half]
    return first + last, first - last


@cache
def _corner_basis(scales: tuple[float, ...]) -> tuple[np.ndarray, ...]:
    """The bases of the first corner's squares, split like the image: four [scales * 2 * C, 12 * 12]."""
    bases = np.concatenate([harmonic_basis(scale, scale - 1, scale - 1) for scale in scales])
    image = bases.reshape(-1, COARSE, COARSE) / 4
    parts = [half for rows in _even_and_odd(image, axis=1) for half in _even_and_odd(rows, axis=2)]
    return tuple(np.ascontiguousarray(part.reshape(len(part), -1)) for part in parts)


def invariants(harmonics_2CN: np.ndarray) -> np.ndarray:
    """What no turn and no mirror changes: [D, N] float32.

    The strengths of the rings' harmonics, the rings' constants, and how the same harmonic of neighboring rings lies to
    each other: a turn multiplies both by the same phase, a mirror conjugates both, and the product's real part stays.
    """
    size = np.square(harmonics_2CN).sum(0)
    total = np.sqrt(size.sum(0)) + np.float32(1e-6)
    scaled = harmonics_2CN / total
    np.sqrt(size, out=size)
    size /= total
    inner, outer = scaled[:, _INNER], scaled[:, _INNER + 1]
    inner *= outer
    bound = size[_INNER] * size[_INNER + 1]
    relative = inner.sum(0) / np.sqrt(bound + np.float32(1e-6))
    return np.concatenate([np.sqrt(size[_CONSTANT:]), scaled[0, :_CONSTANT], relative])
