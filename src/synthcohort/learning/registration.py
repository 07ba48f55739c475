"""Contrast-free detail of images, and small affine registration of pairs of them: what a copy is recognized by.

Shape suffixes: B images, P pairs, V transforms, S rows and columns (square). Coordinates are normalized: (x, y) in
[-1, 1], as in torch's grid_sample; a transform [2, 3] maps a place in the template to the place in the query that shows
the same.
"""

import math
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor

EDGE = 0.97  # places of a query beyond this are not compared: there, copies show padding


@cache
def _blur_matrix(size: int, sigma: float) -> Tensor:
    """The blur of one line, border repeated, as a matrix [size, size]: for small images faster than a convolution."""
    radius = max(1, math.ceil(2.5 * sigma))
    kernel = torch.exp(-0.5 * (torch.arange(-radius, radius + 1, dtype=torch.float32) / sigma) ** 2)
    source = (torch.arange(size)[:, None] + torch.arange(-radius, radius + 1)).clamp(0, size - 1)
    matrix = torch.zeros(size, size).scatter_add_(1, source, (kernel / kernel.sum()).expand(size, -1))
    return matrix


def blur(x_B1SS: Tensor, sigma: float) -> Tensor:
    """Gaussian blur with the border repeated."""
    matrix = _blur_matrix(x_B1SS.shape[-1], sigma)
    return matrix @ (x_B1SS @ matrix.T)


def resized(x_B1HW: Tensor, size: int) -> Tensor:
    """Images stretched to size x size, with a filter that widens when shrinking."""
    if x_B1HW.shape[2:] == (size, size):
        return x_B1HW
    return F.interpolate(x_B1HW, size=(size, size), mode="bilinear", antialias=True, align_corners=False)


def local_detail(x_B1SS: Tensor, fine: float, wide: float, least: float) -> Tensor:
    """The band between two blurs, divided by its local strength: brightness, window and gamma fall out.

    `fine` and `wide` are the blurs' sigmas in pixels; strength below `least` (of a full range of 2) counts as none.
    """
    x = blur(x_B1SS, fine) if fine else x_B1SS
    band = x - blur(x, wide)
    strength = blur(band * band, 1.5 * wide).sqrt()
    return (band / (strength + least)).clamp(-4, 4)


def transform_bank(
    degrees: tuple[float, ...], scales: tuple[float, ...], shifts: tuple[float, ...], middles: bool = True
) -> Tensor:
    """Transforms [V, 2, 3] a copy may need: mirrored or not, turned, and shifted along both axes, to both sides.

    Without `middles`, what is shifted is shifted along both axes alike: the corners of a square, not its sides.
    """
    lines = sorted({sign * shift for shift in shifts for sign in (-1.0, 1.0)})
    places = [(x, y) for x in lines for y in lines if middles or abs(x) == abs(y)]
    transforms = []
    for mirror in (1.0, -1.0):
        for angle in degrees:
            for scale in scales:
                cos, sin = math.cos(math.radians(angle)) / scale, math.sin(math.radians(angle)) / scale
                for x, y in places:
                    transforms.append([[mirror * cos, -mirror * sin, mirror * x], [sin, cos, y]])
    return torch.tensor(transforms)


def warp(x_P1SS: Tensor, transforms_P23: Tensor, size: int) -> Tensor:
    """Queries seen in their templates' frame: [P, size * size], zero outside."""
    grid = F.affine_grid(transforms_P23, [len(transforms_P23), 1, size, size], align_corners=False)
    return F.grid_sample(x_P1SS, grid, padding_mode="zeros", align_corners=False).flatten(1)


def places(size: int) -> Tensor:
    """Normalized coordinates of the pixels: [size * size, 3] of (x, y, 1)."""
    line = (torch.arange(size, dtype=torch.float32) * 2 + 1) / size - 1
    y, x = torch.meshgrid(line, line, indexing="ij")
    return torch.stack([x.flatten(), y.flatten(), torch.ones(size * size)], 1)


def seen(transforms_P23: Tensor, places_N3: Tensor) -> Tensor:
    """1 where the query shows the template's place, else 0: [P, N] float32."""
    where = places_N3 @ transforms_P23.transpose(1, 2)
    return (where.abs().amax(dim=2) <= EDGE).float()


def standardized(x_PN: Tensor, mask_PN: Tensor) -> Tensor:
    """Mean 0 and squared sum 1 under the mask, 0 elsewhere; a constant becomes 0."""
    count = mask_PN.sum(1, keepdim=True).clamp(min=1)
    x = (x_PN - (x_PN * mask_PN).sum(1, keepdim=True) / count) * mask_PN
    return x / x.square().sum(1, keepdim=True).sqrt().clamp(min=1e-6)


def correlation(template_PN: Tensor, query_PN: Tensor, mask_PN: Tensor) -> Tensor:
    """Correlation under the mask: [P]."""
    return (standardized(template_PN, mask_PN) * standardized(query_PN, mask_PN)).sum(1)


def register(template_P1SS: Tensor, query_P1SS: Tensor, transforms_P23: Tensor, steps: int) -> tuple[Tensor, Tensor]:
    """Improves transforms by Gauss-Newton; returns the best transforms [P, 2, 3] met and their correlations [P].

    A step that leaves what a copy may look like (30 % in scale or turn, 25 % in shift) is not taken.
    Source: Baker and Matthews 2004, inverse compositional algorithm, with gain and offset removed.
    """
    P, _, S, _ = template_P1SS.shape
    grid = places(S)
    template = template_P1SS.flatten(1)
    padded = F.pad(template_P1SS, (1, 1, 1, 1), mode="replicate")
    gradient_x = ((padded[:, 0, 1:-1, 2:] - padded[:, 0, 1:-1, :-2]) * (S / 4)).flatten(1)
    gradient_y = ((padded[:, 0, 2:, 1:-1] - padded[:, 0, :-2, 1:-1]) * (S / 4)).flatten(1)
    descent = torch.cat([gradient_x[:, :, None] * grid, gradient_y[:, :, None] * grid], 2)  # [P, N, 6]
    mask = seen(transforms_P23, grid)
    masked = descent * mask[:, :, None]
    hessian = masked.transpose(1, 2) @ masked
    damping = hessian.diagonal(dim1=1, dim2=2).clamp(min=1e-6)
    inverse = torch.linalg.inv(hessian + torch.diag_embed(0.02 * damping))
    last_row = torch.tensor([0.0, 0.0, 1.0]).expand(P, 1, 3)
    current, best, best_value = transforms_P23, transforms_P23, torch.full((P,), -2.0)
    for step in range(steps + 1):
        query = warp(query_P1SS, current, S)
        mask = seen(current, grid)
        a, b = standardized(template, mask), standardized(query, mask)
        value = (a * b).sum(1)
        better = value > best_value
        best = torch.where(better[:, None, None], current, best)
        best_value = torch.where(better, value, best_value)
        if step == steps:
            break
        scale = (template * mask).square().sum(1, keepdim=True).sqrt()
        change = inverse @ (masked.transpose(1, 2) @ ((b - a) * scale)[:, :, None])
        update = torch.cat([change.view(P, 2, 3) + torch.eye(2, 3), last_row], 1)
        moved = torch.cat([current, last_row], 1) @ torch.linalg.inv(update)
        current = torch.where(_plausible(moved[:, :2])[:, None, None], moved[:, :2], current)
    return best, best_value


def _plausible(transforms_P23: Tensor) -> Tensor:
    """True where a transform is a small turn, stretch and shift, mirrored or not: [P]."""
    mirrored = torch.linalg.det(transforms_P23[:, :, :2]) < 0
    linear = transforms_P23[:, :, :2].clone()
    linear[:, 0] = torch.where(mirrored[:, None], -linear[:, 0], linear[:, 0])
    near_one = (linear - torch.eye(2)).abs().amax(dim=(1, 2)) <= 0.3
    return near_one & (transforms_P23[:, :, 2].abs().amax(dim=1) <= 0.25)
