"""Augmentation of what a discriminator sees: real and drawn images are changed alike, so that it cannot learn the real
ones by heart, and the generator still draws unchanged ones.

It does not leak as long as what it does to a *distribution* of images can be undone. Mirroring, shifts, turns, size,
brightness, contrast and a square cut out each happen on their own with probability p: the operator on distributions is
(1 - p) + p M, and M's eigenvalues are at least -0.22 (turns and shifts, drawn evenly: sin(x)/x), 0 (normal draws) or 0
(the mirror, done to half of those chosen), so that it can be inverted for every p below 0.82.
Source: Karras et al. 2020 ("Training Generative Adversarial Networks with Limited Data", 2006.06676), sections 2 and 3
and appendix C; moves are smaller, as a body lies nearly the same way in every image. p follows section 3.1.
Shape suffixes: B images, C channels, H rows, W columns.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from synthcohort.training.gan_config import MOST_AUGMENT

SHIFT = 0.125  # of the height or width, at most
DEGREES = 15.0  # at most
SIZE = 0.2  # standard deviation of log2 of the size, cut at two
BRIGHTNESS = 0.2  # standard deviation, of half the range
CONTRAST = 0.5  # standard deviation of log2
CUT = 0.5  # side of the square over the image's
# The numbers of a change: zeros do nothing; the square's center is from 0 to 1, and CUT_OUT says whether there is one.
MIRROR, RIGHT, DOWN, TURN, LARGER, LIGHT, STEEP, CUT_OUT, CUT_RIGHT, CUT_DOWN = range(10)
WIDTH = 10
SMOOTH = 0.98  # of running means
SIGNS_TARGET = 0.6  # of r_t, the mean sign of scores


def draw_moves(count: int, probability: float, mirror: bool, generator: torch.Generator) -> Tensor:
    """What is to be done to `count` images: [B, 10] float32; each change is made with `probability`, on its own."""
    done = torch.rand(count, 7, generator=generator) < probability
    even = 2 * torch.rand(count, 6, generator=generator) - 1
    normal = torch.randn(count, 3, generator=generator).clamp(-2, 2)
    moves = torch.zeros(count, WIDTH)
    moves[:, MIRROR] = (done[:, 0] & (even[:, 0] > 0) & mirror).float()
    moves[:, RIGHT : DOWN + 1] = SHIFT * even[:, 1:3] * done[:, 1:2]
    moves[:, TURN] = math.radians(DEGREES) * even[:, 3] * done[:, 2]
    moves[:, LARGER] = SIZE * normal[:, 0] * done[:, 3]
    moves[:, LIGHT] = BRIGHTNESS * normal[:, 1] * done[:, 4]
    moves[:, STEEP] = CONTRAST * normal[:, 2] * done[:, 5]
    moves[:, CUT_OUT] = done[:, 6].float()
    moves[:, CUT_RIGHT : CUT_DOWN + 1] = (even[:, 4:6] + 1) / 2 * done[:, 6:7]
    return moves


def moved(images: Tensor, moves: Tensor) -> Tensor:
    """Does what `moves` [B, 10] say to images [B, C, H, W] in about [-1, 1]; differentiable in the images.

    One bilinear interpolation for all moves; what comes into view is mirrored at the border. Images without a change
    come back bit by bit.
    """
    if not moves.any():
        return images
    moves = moves.to(images.device)
    x = torch.where(moves[:, MIRROR, None, None, None] > 0, images.flip(3), images)
    at = moves[:, RIGHT : LARGER + 1].ne(0).any(1).nonzero()[:, 0]
    if len(at):
        grid = F.affine_grid(places(moves[at], images.shape[2:]), [len(at), *images.shape[1:]], False)
        turned = F.grid_sample(x[at], grid, mode="bilinear", padding_mode="reflection", align_corners=False)
        x = x.index_copy(0, at, turned)
    steep = torch.exp2(moves[:, STEEP])[:, None, None, None]
    x = torch.where(steep == 1, x, x * steep) + moves[:, LIGHT, None, None, None]
    return torch.where(cut_out(moves, images.shape[2:]), torch.zeros_like(x), x)


def places(moves: Tensor, size: torch.Size) -> Tensor:
    """[B, 2, 3] from output to input places in [-1, 1] (affine_grid's), for images of `size` (rows, columns)."""
    half = torch.tensor([size[1], size[0]], dtype=torch.float32, device=moves.device) / 2
    smaller = torch.exp2(-moves[:, LARGER])
    c, s = smaller * moves[:, TURN].cos(), smaller * moves[:, TURN].sin()
    back = torch.stack([torch.stack([c, s], 1), torch.stack([-s, c], 1)], 1)
    linear = back * half[None, None, :] / half[None, :, None]
    shift = 2 * moves[:, RIGHT : DOWN + 1, None]  # 2 is the whole width or height
    return torch.cat([linear, -linear @ shift], dim=2)


def cut_out(moves: Tensor, size: torch.Size) -> Tensor:
    """[B, 1, H, W] of bool: the squares that are cut out."""
    y = (torch.arange(size[0], device=moves.device) + 0.5) / size[0]
    x = (torch.arange(size[1], device=moves.device) + 0.5) / size[1]
    inside_y = (y[None] - moves[:, CUT_DOWN, None]).abs() < CUT / 2
    inside_x = (x[None] - moves[:, CUT_RIGHT, None]).abs() < CUT / 2
    there = (moves[:, CUT_OUT] > 0)[:, None, None]
    return (inside_y[:, :, None] & inside_x[:, None, :] & there)[:, None]


def adapted(probability: float, known: float, target: float, images: int, span: int) -> float:
    """The probability after `images` more: up where the training images are known by heart beyond `target`, else down.

    `known` is r_v, or r_t without validation images. It moves from 0 to 1 in `span` images, between 0 and MOST_AUGMENT.
    Source: Karras et al. 2020, section 3.1.
    """
    step = images / span
    return min(MOST_AUGMENT, max(0.0, probability + (step if known > target else -step)))
