"""Where the tissue lies on a slide, and which tiles show it."""

import numpy as np
from scipy import ndimage

BRIGHT, DARK = 235, 25  # mean of red, green and blue: above is glass, below is the scanner's padding or a fold
# Limits of the threshold on saturation, of 255. Glass and its noise lie below the lower one. Above the upper one, Otsu
# would part pale tissue from strongly stained, or on a slide without glass nothing but tissue.
LEAST, MOST = 13, 25
INK = 10  # levels by which green outshines red and blue where somebody wrote on the glass; no stain does that


def tissue_mask(pixels: np.ndarray) -> np.ndarray:
    """Tissue is colored and neither bright nor black: Otsu's threshold on saturation, with a guard on gray levels.

    `pixels` [rows, columns, 3] uint8 -> [rows, columns] bool. Source: Otsu 1979.
    """
    high, low = pixels.max(axis=2), pixels.min(axis=2)
    saturation = ((high - low).astype(np.uint16) * 255 // np.maximum(high, 1)).astype(np.uint8)
    gray = pixels.sum(axis=2, dtype=np.uint16) // 3
    ink = pixels[..., 1] > np.maximum(pixels[..., 0], pixels[..., 2]).astype(np.int16) + INK
    seen = (gray > DARK) & ~ink
    histogram = sum(np.bincount(part, minlength=256) for part in np.array_split(saturation[seen], 32))
    threshold = min(MOST, max(LEAST, otsu(np.asarray(histogram))))
    mask = seen & (gray < BRIGHT) & (saturation > threshold)
    # Each pixel as most of its 3 x 3 neighbors: specks are dust, small holes are lumens and fat.
    return np.asarray(ndimage.uniform_filter(mask.view(np.uint8) * np.uint8(90), 3, mode="nearest") >= 50)


def otsu(histogram: np.ndarray) -> int:
    """The level that parts a histogram into two classes with the largest variance between them: above it is one.

    0 when there is one class alone.
    """
    counts = np.asarray(histogram, dtype=np.float64)
    levels = np.arange(len(counts))
    below = np.cumsum(counts)
    above = below[-1] - below
    sums = np.cumsum(counts * levels)
    both = (below > 0) & (above > 0)
    if not both.any():
        return 0
    mean_below = sums[both] / below[both]
    mean_above = (sums[-1] - sums[both]) / above[both]
    between = below[both] * above[both] * (mean_above - mean_below) ** 2
    return int(levels[both][np.argmax(between)])


def shares(mask: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """The share of each cell of a grid that is tissue, [len(rows) - 1, len(columns) - 1].

    `rows` and `columns` are the cells' edges in pixels of the mask, not necessarily whole; cells of less than a pixel
    get that pixel.
    """
    total = np.zeros((mask.shape[0] + 1, mask.shape[1] + 1), dtype=np.int32)
    np.cumsum(mask, axis=0, dtype=np.int32, out=total[1:, 1:])
    np.cumsum(total, axis=1, out=total)
    top, bottom = _edges(rows, mask.shape[0])
    left, right = _edges(columns, mask.shape[1])
    inside = total[bottom][:, right] - total[top][:, right] - total[bottom][:, left] + total[top][:, left]
    return np.asarray(inside / ((bottom - top)[:, None] * (right - left)[None, :]))


def _edges(edges: np.ndarray, length: int) -> tuple[np.ndarray, np.ndarray]:
    first = np.clip(np.rint(edges[:-1]).astype(np.int64), 0, length - 1)
    last = np.clip(np.rint(edges[1:]).astype(np.int64), first + 1, length)
    return first, last


def spread(cells: np.ndarray, count: int) -> np.ndarray:
    """At most `count` of the cells [n, 2] (row, column), evenly over them, in row order.

    They are strung on a Hilbert curve, which keeps neighbors near, and every n-th is taken: each piece of tissue gives
    tiles by its area. The choice depends on the cells alone.
    """
    if len(cells) <= count:
        return cells
    order = np.argsort(hilbert(cells), kind="stable")
    picked = order[(2 * np.arange(count) + 1) * len(cells) // (2 * count)]
    return cells[np.sort(picked)]


def hilbert(cells: np.ndarray) -> np.ndarray:
    """Each cell's distance along a Hilbert curve over all of them. Source: Skilling 2004, in two dimensions."""
    y, x = (cells[:, i].astype(np.int64).copy() for i in (0, 1))
    bits = max(1, int(max(y.max(), x.max())).bit_length())
    distance = np.zeros(len(cells), dtype=np.int64)
    for bit in range(bits - 1, -1, -1):
        side = 1 << bit
        right, down = (x & side) > 0, (y & side) > 0
        distance += side * side * (3 * right ^ down)
        # Turn the quadrant so that the next, finer curve starts where this one comes from.
        mirrored = ~down & right
        x, y = np.where(mirrored, side - 1 - (x & (side - 1)), x), np.where(mirrored, side - 1 - (y & (side - 1)), y)
        x, y = np.where(down, x, y), np.where(down, y, x)
    return distance
