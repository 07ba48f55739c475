"""How far a reconstruction is from its image, without the weights of any other network.

Two terms, each a mean over pixels in [-1, 1]: the values themselves, and the local contrast at several scales
(texture). The latter compares how strong the detail is and not where each grain of it lies: without it the best answer
to noise is to leave it out. Differences between neighbors (edges) as a third term did not pay (docs/decisions/0022).
"""

import torch
import torch.nn.functional as F
from torch import Tensor

SCALES = 3  # full size, half, a quarter
WINDOW = 4  # side of the squares or cubes in which contrast is measured
NOISE_FLOOR = 1e-5  # variance below which contrast is not told apart: half a gray level of 8 bits


def pixel_loss(x: Tensor, target: Tensor) -> Tensor:
    """Mean absolute difference."""
    return (x - target).abs().mean()


def texture_loss(x: Tensor, target: Tensor) -> Tensor:
    """Mean absolute difference of the local contrast of what a scale has and the next coarser one lacks."""
    total = x.new_zeros(())
    for scale in range(SCALES):
        if scale:
            x, target = halved(x), halved(target)
        if min(x.shape[2:]) < WINDOW:
            return total / scale if scale else total
        total = total + (contrast(x) - contrast(target)).abs().mean()
    return total / SCALES


def contrast(x: Tensor) -> Tensor:
    """Standard deviation of the finest detail in squares or cubes of WINDOW pixels a side: [B, C, *X / WINDOW]."""
    detail = x - doubled(halved(x), x.shape[2:])
    return (pooled(detail.square(), WINDOW) + NOISE_FLOOR).sqrt()


def pooled(x: Tensor, side: int) -> Tensor:
    """Means of squares or cubes; what does not fill one is left out."""
    return F.avg_pool2d(x, side) if x.ndim == 4 else F.avg_pool3d(x, side)


def halved(x: Tensor) -> Tensor:
    return pooled(x, 2)


def doubled(x: Tensor, size: torch.Size) -> Tensor:
    """Every pixel repeated to this size."""
    return F.interpolate(x, size=tuple(size), mode="nearest")
