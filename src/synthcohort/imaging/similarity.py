"""Structural similarity of pairs of images, at one scale and at several."""

import numpy as np
from scipy import ndimage

WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)  # of the scales, finest first
WINDOW, SIGMA = 11, 1.5


def num_scales(shape: tuple[int, int]) -> int:
    """How many of the five scales images of this shape have: the window must fit into the coarsest."""
    scales = 0
    while scales < len(WEIGHTS) and min(shape) // 2**scales >= WINDOW:
        scales += 1
    return scales


def ms_ssim(
    a: np.ndarray, b: np.ndarray, data_range: float, scales: int | None = None, reflected: bool = True
) -> np.ndarray:
    """Multi-scale structural similarity of image pairs [B, rows, columns]: [B] float64, 1 for equal images.

    Small images have fewer than the five scales of the paper; the weights of those they have are brought to the sum of
    all. Negative parts count as 0. `reflected`: at the coarsest scale windows across the border count too, the image
    reflected there, as in torchmetrics 1.9; without it whole windows only, as in the paper's own code.
    Raises ValueError for images smaller than the window (11 pixels).
    Source: Wang, Simoncelli and Bovik 2003.
    """
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    if a.shape != b.shape or a.ndim != 3:
        raise ValueError(f"pairs of shapes {a.shape} and {b.shape}; needed: [B, rows, columns], the same")
    scales = scales or num_scales(a.shape[1:])
    if not 1 <= scales <= num_scales(a.shape[1:]):
        raise ValueError(f"{scales} scales of images of {a.shape[1:]} pixels; possible: {num_scales(a.shape[1:])}")
    weights = np.array(WEIGHTS[:scales]) * (sum(WEIGHTS) / sum(WEIGHTS[:scales]))
    result = np.ones(len(a))
    for scale in range(scales):
        last = scale == scales - 1
        if last and reflected:
            a, b = (np.pad(x, ((0, 0), (WINDOW // 2,) * 2, (WINDOW // 2,) * 2), mode="reflect") for x in (a, b))
        whole, contrast = _ssim(a, b, data_range)
        part = whole if last else contrast
        result *= np.maximum(part, 0) ** weights[scale]
        if not last:
            a, b = _halved(a), _halved(b)
    return result


def _ssim(a: np.ndarray, b: np.ndarray, data_range: float) -> tuple[np.ndarray, np.ndarray]:
    """Mean structural similarity and its contrast part, over all whole windows: [B] each."""
    c1, c2 = (0.01 * data_range) ** 2, (0.03 * data_range) ** 2
    mean_a, mean_b = _blurred(a), _blurred(b)
    variance_a = np.maximum(_blurred(a * a) - mean_a**2, 0)
    variance_b = np.maximum(_blurred(b * b) - mean_b**2, 0)
    covariance = _blurred(a * b) - mean_a * mean_b
    contrast = (2 * covariance + c2) / (variance_a + variance_b + c2)
    light = (2 * mean_a * mean_b + c1) / (mean_a**2 + mean_b**2 + c1)
    return (light * contrast).mean(axis=(1, 2)), contrast.mean(axis=(1, 2))


def _blurred(images: np.ndarray) -> np.ndarray:
    """Gaussian means of all whole windows."""
    at = np.arange(WINDOW) - WINDOW // 2
    kernel = np.exp(-(at**2) / (2 * SIGMA**2))
    kernel /= kernel.sum()
    half = WINDOW // 2
    blurred = ndimage.correlate1d(images, kernel, axis=1)[:, half:-half]
    return ndimage.correlate1d(blurred, kernel, axis=2)[:, :, half:-half]


def _halved(images: np.ndarray) -> np.ndarray:
    rows, columns = images.shape[1] // 2 * 2, images.shape[2] // 2 * 2
    return images[:, :rows, :columns].reshape(len(images), rows // 2, 2, columns // 2, 2).mean(axis=(2, 4))
