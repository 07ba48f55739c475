"""Augmentation that does not leak: images are moved a little, and the network is told how, so that it learns both what
an image is and what was done to it; asked for images that nothing was done to, it draws none that were moved.

Source: Karras et al. 2022, section 5 and appendix F.2 (table 6), with smaller moves: a body lies nearly the same way in
every image. Shape suffixes: B images, C channels, D slices, H rows, W columns.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from synthcohort.models.condition import AUGMENT_WIDTH

# How far each goes: standard deviations of normal draws, cut at two of them.
SCALE = 0.12  # of log2 of the size
STRETCH = 0.10  # of log2 of one axis over the other, along any direction
DEGREES = 8.0
SHIFT = 0.06  # of the height or width
GAIN = 0.12  # of log2 of the intensity over the lowest one: black stays black
# What the eight numbers say: mirror, size, stretch (cosine and sine part), turn, shift right, shift down, gain.
MIRROR, SIZE, STRETCH_COS, STRETCH_SIN, TURN, RIGHT, DOWN, LIGHT = range(AUGMENT_WIDTH)


def draw_changes(count: int, probability: float, mirror: bool, generator: torch.Generator) -> Tensor:
    """What is to be done to `count` images: [B, 8] float32 of about unit size; each change is made with `probability`.

    An image that nothing is done to has zeros. `mirror` allows left to right.
    """
    done = torch.rand(count, 6, generator=generator) < probability  # mirror, size, stretch, turn, shift, gain
    size = torch.randn(count, AUGMENT_WIDTH, generator=generator).clamp(-2, 2)
    direction = 2 * math.pi * torch.rand(count, generator=generator)
    changes = torch.zeros(count, AUGMENT_WIDTH)
    # half of those chosen for the mirror are mirrored, as the paper has it
    changes[:, MIRROR] = (done[:, 0] & (size[:, MIRROR] > 0) & mirror).float()
    changes[:, SIZE] = size[:, SIZE] * done[:, 1]
    changes[:, STRETCH_COS] = size[:, STRETCH_COS].abs() * direction.cos() * done[:, 2]
    changes[:, STRETCH_SIN] = size[:, STRETCH_COS].abs() * direction.sin() * done[:, 2]
    changes[:, TURN] = size[:, TURN] * done[:, 3]
    changes[:, RIGHT : DOWN + 1] = size[:, RIGHT : DOWN + 1] * done[:, 4:5]
    changes[:, LIGHT] = size[:, LIGHT] * done[:, 5]
    return changes


def change(images: Tensor, changes: Tensor) -> Tensor:
    """Does what `changes` [B, 8] say to images [B, C, H, W] or [B, C, D, H, W] in about [-1, 1], slices all alike.

    One bicubic interpolation for all moves; what comes into view is mirrored at the border. Images without a change
    come back bit by bit. A move shrinks at most to 0.79, which needs no low-pass.
    """
    x = images.flatten(1, -3)  # slices move like channels
    x = torch.where(changes[:, MIRROR, None, None, None] > 0, x.flip(3), x)
    moved = changes[:, SIZE : DOWN + 1].ne(0).any(1).nonzero()[:, 0]
    if len(moved):
        grid = F.affine_grid(sampling_matrix(changes[moved], x.shape[2:]), [len(moved), *x.shape[1:]], False)
        turned = F.grid_sample(x[moved], grid, mode="bicubic", padding_mode="reflection", align_corners=False)
        x = x.index_copy(0, moved, turned)
    gain = torch.exp2(GAIN * changes[:, LIGHT])[:, None, None, None]
    x = torch.where(gain == 1, x, (x + 1) * gain - 1)
    return x.view(images.shape)


def sampling_matrix(changes: Tensor, size: torch.Size) -> Tensor:
    """[B, 2, 3] from output to input places in [-1, 1] (affine_grid's), for images of `size` (rows, columns)."""
    half = torch.tensor([size[1], size[0]], dtype=torch.float32) / 2  # pixels per unit of x and of y
    angle = math.radians(DEGREES) * changes[:, TURN]
    turn = _matrix(angle.cos(), -angle.sin(), angle.sin(), angle.cos())
    # stretch along a direction: the matrix exponential of [[c, s], [s, -c]] times its amount
    c, s = (math.log(2) * STRETCH * changes[:, part] for part in (STRETCH_COS, STRETCH_SIN))
    amount = torch.hypot(c, s)
    ratio = torch.where(amount > 0, amount.sinh() / amount.clamp(min=1e-12), torch.ones_like(amount))
    stretch = _matrix(amount.cosh() + ratio * c, ratio * s, ratio * s, amount.cosh() - ratio * c)
    scale = torch.exp2(SCALE * changes[:, SIZE])
    forward = scale[:, None, None] * turn @ stretch  # pixels of the image to pixels of the output
    back = torch.linalg.inv(forward)
    shift = 2 * SHIFT * changes[:, RIGHT : DOWN + 1]  # in affine_grid's units: 2 is the whole width or height
    linear = back * half[None, None, :] / half[None, :, None]
    return torch.cat([linear, -linear @ shift[:, :, None]], dim=2)


def _matrix(a: Tensor, b: Tensor, c: Tensor, d: Tensor) -> Tensor:
    return torch.stack([torch.stack([a, b], 1), torch.stack([c, d], 1)], 1)
