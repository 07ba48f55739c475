"""What an image is recognized by when it comes back changed: a thumbnail, and a description that turning leaves alone.

Words: the *thumbnail* is the whole image, stretched to a square; a *view* is the square of it that is compared, with
coordinates (x, y) in [-1, 1]; *detail* is a view without brightness and contrast; *harmonics* are the circular Fourier
coefficients of detail, ring by ring; *invariants* are numbers made of them that no turn and no mirror changes.

Shape suffixes: N images, S rows and columns, R rings, M harmonics of a ring, D invariants.
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
    small = views_NSS.reshape(-1, COARSE, 2, COARSE, 2).mean(axis=(2, 4))
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


@cache
def harmonic_basis(scale: float = 1.0, x: float = 0.0, y: float = 0.0) -> np.ndarray:
    """Circular harmonics of the square of this scale around (x, y): [24 * 24, R * M] complex64, for coarse detail.

    So scaled that the product of two images' harmonics is about their correlation over the disc.
    """
    line = (np.arange(COARSE) * 2 + 1) / COARSE - 1
    v, u = np.meshgrid((line - y) / scale, (line - x) / scale, indexing="ij")
    rho, phi = np.hypot(u, v).reshape(-1, 1), np.arctan2(v, u).reshape(-1, 1, 1)
    profile = np.exp(-0.5 * ((rho - RADII) / RING) ** 2)
    profile *= np.sqrt(RADII) / np.sqrt((profile**2).sum(0))
    turning = np.exp(-1j * phi * np.arange(HARMONICS))
    turning[:, :, 1:] *= np.sqrt(2)
    # Near the center few pixels make a ring: it has no fast harmonics.
    there = np.arange(HARMONICS) <= RADII[:, None] * COARSE * 0.8
    return (profile[:, :, None] * turning * there).reshape(COARSE * COARSE, -1).astype(np.complex64)


def harmonics(coarse_NSS: np.ndarray, basis: np.ndarray) -> np.ndarray:
    """Circular harmonics of coarse detail (float32): [N, R, M] complex64."""
    flat = coarse_NSS.reshape(len(coarse_NSS), -1)
    result = np.empty((len(flat), basis.shape[1]), np.complex64)
    result.real = flat @ np.ascontiguousarray(basis.real)
    result.imag = flat @ np.ascontiguousarray(basis.imag)
    return result.reshape(-1, len(RADII), HARMONICS)


def invariants(harmonics_NRM: np.ndarray) -> np.ndarray:
    """What no turn and no mirror changes: [N, D] float32.

    The rings' constants, the strengths of their harmonics, and how the same harmonic of neighboring rings lies to each
    other: a turn multiplies both by the same phase, a mirror conjugates both, and the product's real part stays.
    """
    total = np.sqrt((np.abs(harmonics_NRM) ** 2).sum(axis=(1, 2), keepdims=True)) + 1e-6
    scaled = harmonics_NRM / total
    product = scaled[:, :-1, 1:] * scaled[:, 1:, 1:].conj()
    relative = product.real / np.sqrt(np.abs(product) + 1e-6)
    strength = np.sqrt(np.abs(scaled[:, :, 1:]))
    parts = (strength, scaled[:, :, 0].real, relative)
    return np.concatenate([part.reshape(len(scaled), -1) for part in parts], 1).astype(np.float32)
