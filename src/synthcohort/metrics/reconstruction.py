"""How near reconstructions are to their images: signal to noise, structural similarity, gray-value bias, power by band.

Legend: images are [*X] or [*X, C] of two or three spatial axes; a *range* is the difference of the largest and smallest
value an image may have.
"""

import itertools
import math

import numpy as np
from scipy.ndimage import gaussian_filter

SSIM_SIGMA = 1.5  # pixels; Wang et al. 2004, section III-C
SSIM_RADIUS = 5  # the window is 11 pixels wide
BANDS = (0.0, 0.125, 0.25, 0.5, 1.0)  # edges, as shares of the highest frequency of an axis (half a cycle a pixel)


def psnr(*, image: np.ndarray, reconstruction: np.ndarray, value_range: float) -> float:
    """Peak signal-to-noise ratio in dB; infinite for equal images."""
    a, b = _pair(image, reconstruction)
    error = float(np.mean((a - b) ** 2))
    return math.inf if error == 0 else 10 * math.log10(value_range**2 / error)


def ssim(*, image: np.ndarray, reconstruction: np.ndarray, value_range: float, channels: bool = False) -> float:
    """Mean structural similarity with Gaussian windows; where a window would reach over the border is left out.

    `channels`: the last axis holds channels, over which the mean is taken. Raises ValueError for images smaller than
    the window. Source: Wang et al. 2004, equation 13, with K1 = 0.01 and K2 = 0.03.
    """
    a, b = _pair(image, reconstruction)
    if channels:
        return float(np.mean([_ssim(a[..., c], b[..., c], value_range) for c in range(a.shape[-1])]))
    return _ssim(a, b, value_range)


def _ssim(a: np.ndarray, b: np.ndarray, value_range: float) -> float:
    if min(a.shape) <= 2 * SSIM_RADIUS:
        raise ValueError(f"image of {a.shape}; needed: more than {2 * SSIM_RADIUS} pixels along every axis")

    def local(x: np.ndarray) -> np.ndarray:
        smooth = gaussian_filter(x, SSIM_SIGMA, radius=SSIM_RADIUS)
        return smooth[(slice(SSIM_RADIUS, -SSIM_RADIUS),) * x.ndim]

    mean_a, mean_b = local(a), local(b)
    var_a, var_b = local(a * a) - mean_a**2, local(b * b) - mean_b**2
    covariance = local(a * b) - mean_a * mean_b
    c1, c2 = (0.01 * value_range) ** 2, (0.03 * value_range) ** 2
    above = (2 * mean_a * mean_b + c1) * (2 * covariance + c2)
    return float(np.mean(above / ((mean_a**2 + mean_b**2 + c1) * (var_a + var_b + c2))))


def mean_bias(*, image: np.ndarray, reconstruction: np.ndarray) -> float:
    """Mean of the reconstruction minus mean of the image, in the image's own unit."""
    a, b = _pair(image, reconstruction)
    return float(b.mean() - a.mean())


def band_power(image: np.ndarray, channels: bool = False) -> np.ndarray:
    """Power in each frequency band of BANDS, [len(BANDS) - 1], the image's mean left out.

    A Hann window keeps the borders from leaking into all bands. Frequencies beyond the last edge (the corners) are left
    out.
    """
    x = np.asarray(image, np.float64)
    axes = tuple(range(x.ndim - channels))
    x = x - x.mean(axis=axes, keepdims=True)
    for axis in axes:
        shape = [1] * x.ndim
        shape[axis] = x.shape[axis]
        x = x * np.hanning(x.shape[axis] + 2)[1:-1].reshape(shape)
    power = np.abs(np.fft.fftn(x, axes=axes)) ** 2
    if channels:
        power = power.mean(axis=-1)
    grids = np.meshgrid(*(2 * np.fft.fftfreq(size) for size in power.shape), indexing="ij")
    radius = np.sqrt(sum(grid**2 for grid in grids))
    inside = [(radius > low) & (radius <= high) for low, high in itertools.pairwise(BANDS)]
    return np.array([power[band].sum() / power.size for band in inside])


def _pair(image: np.ndarray, reconstruction: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    a, b = np.asarray(image, np.float64), np.asarray(reconstruction, np.float64)
    if a.shape != b.shape or not a.size:
        raise ValueError(f"images of shapes {a.shape} and {b.shape}; needed: two equal, not empty")
    return a, b
