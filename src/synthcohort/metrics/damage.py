"""What single images tell about damage: sharpness by band, noise, saturation, gray levels, blocks and stripes.

Images are [N, rows, columns] or [N, rows, columns, 3], float in [0, 1]. One pixel of detail is one pixel as stored:
only images of one size, brought there the same way, can be compared.
"""

import numpy as np
from scipy import ndimage

STATISTICS: dict[str, str] = {
    "brightness": "brightness",
    "contrast": "contrast",
    "fine_detail": "the finest detail",
    "middle_detail": "middle detail",
    "coarse_detail": "coarse detail",
    "fine_share": "fine detail beside coarse detail",
    "middle_share": "middle detail beside coarse detail",
    "noise_quiet": "noise where the image is quiet",
    "noise": "noise",
    "noise_busy": "detail where the image is busy",
    "edge_kurtosis": "how rare strong edges are",
    "at_lowest": "pixels at the lowest value",
    "at_highest": "pixels at the highest value",
    "levels": "number of gray levels",
    "blocks": "steps at the borders of blocks of 8 pixels",
    "row_stripes": "stripes along rows",
    "column_stripes": "stripes along columns",
    "color_detail": "fine detail in color",
}  # name: in words
_TINY = 1e-3  # a quarter of a gray level of 256: below it nothing can be seen or measured
BLOCK = 8  # pixels; JPEG's
LEAST_SIDE = 16  # rows and columns


def image_statistics(images: np.ndarray) -> np.ndarray:
    """One row of STATISTICS for each image: [N, S] float64, finite whatever the images.

    Raises ValueError for images below 16 pixels a side.
    """
    images = np.asarray(images, np.float32)
    gray = images.mean(axis=3) if images.ndim == 4 else images
    if min(gray.shape[1:]) < LEAST_SIDE:
        raise ValueError(f"images of {gray.shape[1]} × {gray.shape[2]} pixels; needed: {LEAST_SIDE} or more a side")
    smooth = [gray]
    for step in (1, 2, 4):
        smooth.append(_smoothed(smooth[-1], step))
    detail = [_log_rms(smooth[i] - smooth[i + 1]) for i in range(3)]
    right, down = np.diff(gray, axis=2), np.diff(gray, axis=1)
    diagonal = np.abs(right[:, 1:] - right[:, :-1]).reshape(len(gray), -1) / 2
    quiet, middle, busy = np.quantile(diagonal, [0.2, 0.5, 0.9], axis=1)
    lowest, highest, levels = _extremes(gray)
    columns = (
        gray.mean(axis=(1, 2)),
        _log(gray.std(axis=(1, 2))),
        *detail,
        detail[0] - detail[2],
        detail[1] - detail[2],
        _log(quiet),
        _log(middle),
        _log(busy),
        _edge_kurtosis(right, down),
        lowest,
        highest,
        levels,
        _blocks(right, 2) + _blocks(down, 1),
        _stripes(gray.mean(axis=2)),
        _stripes(gray.mean(axis=1)),
        _color_detail(images),
    )
    return np.stack([np.asarray(column, np.float64) for column in columns], axis=1)


def is_constant(images: np.ndarray) -> np.ndarray:
    """Whether all pixels of an image have one value: [N] bool."""
    flat = np.asarray(images).reshape(len(images), -1)
    return flat.max(axis=1) - flat.min(axis=1) <= 0


def _log(values: np.ndarray) -> np.ndarray:
    return np.log(np.asarray(values, np.float64) + _TINY)


def _log_rms(values: np.ndarray) -> np.ndarray:
    return _log(np.sqrt(np.square(values, dtype=np.float64).mean(axis=(1, 2))))


def _smoothed(gray: np.ndarray, step: int) -> np.ndarray:
    """Binomial 1-2-1 along both axes with holes of `step` pixels (the à trous wavelet's low pass)."""
    kernel = np.zeros(2 * step + 1, np.float32)
    kernel[[0, step, 2 * step]] = 0.25, 0.5, 0.25
    return ndimage.correlate1d(ndimage.correlate1d(gray, kernel, 1, mode="reflect"), kernel, 2, mode="reflect")


def _edge_kurtosis(right: np.ndarray, down: np.ndarray) -> np.ndarray:
    """Log of the kurtosis of first differences: high where few strong edges stand in flat surroundings."""
    values = np.concatenate([right.reshape(len(right), -1), down.reshape(len(down), -1)], axis=1).astype(np.float64)
    square = np.square(values)
    spread = square.mean(axis=1)
    return np.log((np.square(square).mean(axis=1) + _TINY**4) / (spread**2 + _TINY**4))


def _extremes(gray: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Log shares of pixels at an image's own lowest and highest value, and the log of its number of gray levels."""
    flat = np.rint(gray.reshape(len(gray), -1) * 255).astype(np.int64)
    shares = [(flat == edge[:, None]).mean(axis=1) for edge in (flat.min(axis=1), flat.max(axis=1))]
    bins = np.clip(flat, 0, 255) + 256 * np.arange(len(flat))[:, None]
    used = np.bincount(bins.ravel(), minlength=256 * len(flat)).reshape(len(flat), 256) > 0
    return _log(shares[0]), _log(shares[1]), np.log(used.sum(axis=1))


def _blocks(steps: np.ndarray, axis: int) -> np.ndarray:
    """Log of the mean step at the borders of blocks over the mean of the others, of the phase with the largest."""
    along = np.abs(steps).mean(axis=3 - axis, dtype=np.float64)
    phases = np.stack([along[:, phase::BLOCK].mean(axis=1) for phase in range(BLOCK)], axis=1)
    top = phases.max(axis=1)
    rest = (phases.sum(axis=1) - top) / (BLOCK - 1)
    return _log(top) - _log(rest)


def _stripes(means: np.ndarray) -> np.ndarray:
    """Log of the root mean square of second differences of the means of rows or columns."""
    second = np.diff(means, n=2, axis=1)
    return _log(np.sqrt(np.square(second, dtype=np.float64).mean(axis=1)))


def _color_detail(images: np.ndarray) -> np.ndarray:
    if images.ndim == 3:
        return np.zeros(len(images))
    differences = [images[..., 0] - images[..., 1], images[..., 2] - images[..., 1]]
    return np.mean([_log_rms(value - _smoothed(value, 1)) for value in differences], axis=0)
