"""Power spectra by ring of spatial frequency: where an image's detail and noise lie, and what blur takes away."""

import numpy as np

# Rings of constant images have no power; the logarithm of this stands for it: rounding of a 16-bit image to integers.
LEAST_POWER = (2 / 65535) ** 2 / 12


def num_rings(shape: tuple[int, int]) -> int:
    """How many rings images of this shape fill: each is at least two steps of frequency wide."""
    return max(1, min(32, min(shape) // 4))


def radial_power(images: np.ndarray, rings: int | None = None) -> np.ndarray:
    """Mean power in rings of spatial frequency from 0 to 0.5 cycles per pixel, the image's mean left out: [B, rings].

    images [B, rows, columns]. A Hann window keeps the frame's edges from looking like detail; it is divided out, so
    that white noise of variance v has power v in every ring but the lowest, which loses what the mean takes along.
    Frequencies beyond 0.5 (the corners) are left out.
    """
    images = np.asarray(images, np.float64)
    rows, columns = images.shape[1:]
    rings = rings or num_rings((rows, columns))
    window = np.outer(_hann(rows), _hann(columns))
    weight = window.sum()
    centered = images - (images * window).sum(axis=(1, 2), keepdims=True) / weight
    power = np.abs(np.fft.rfft2(centered * window)) ** 2 / (window**2).sum()
    ring, count = _rings(rows, columns, rings)
    inside = ring.ravel() < rings
    sums = np.zeros((len(images), rings))
    flat = (power * count).reshape(len(images), -1)[:, inside]
    members = ring.ravel()[inside]
    for number in range(rings):
        sums[:, number] = flat[:, members == number].sum(axis=1)
    totals = np.bincount(members, np.broadcast_to(count, ring.shape).ravel()[inside], minlength=rings)
    return sums / np.maximum(totals, 1)


def log_power(images: np.ndarray, rings: int | None = None) -> np.ndarray:
    """`radial_power` in decibels, 10 · log10: [B, rings]."""
    return 10 * np.log10(np.maximum(radial_power(images, rings), LEAST_POWER))


def _hann(size: int) -> np.ndarray:
    """Without zeros at the ends, so that small images lose little."""
    return np.sin(np.pi * (np.arange(size) + 0.5) / size) ** 2


def _rings(rows: int, columns: int, rings: int) -> tuple[np.ndarray, np.ndarray]:
    """The ring of each coefficient of rfft2 (`rings`: none), and how often it stands for itself and its conjugate."""
    y, x = np.fft.fftfreq(rows)[:, None], np.fft.rfftfreq(columns)[None, :]
    frequency = np.hypot(y, x)
    ring = np.minimum((frequency * 2 * rings).astype(np.int64), rings)
    ring[0, 0] = rings
    count = np.full((1, len(x[0])), 2.0)
    count[0, 0] = 1
    if columns % 2 == 0:
        count[0, -1] = 1
    return ring, count
