"""How alike two registered images are, place by place and band by band: what the copy detector's score is made of.

Shape suffixes: B images, P pairs, C bands, S rows and columns (square), F features.
"""

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from synthcohort.learning.registration import blur, places, seen

# Blurs that a band lies between, the blur over which places are taken together, and the strength that counts as none
# (of a full range of 2); lengths in pixels of an image of 64 x 64.
BANDS = ((0.6, 1.5, 3.0, 0.006), (1.0, 2.5, 4.0, 0.008), (1.8, 4.5, 6.0, 0.012))
NONE = 0.1  # compressed strength that counts as none
QUANTILES = (0.1, 0.3, 0.5, 0.7, 0.9)
STRIDE = 4  # of the places whose quantiles are taken
SPARED = 3  # candidates, the most alike, that may be copies of one image
LIMIT = 0.995  # of a correlation, before its scale is stretched
NUM_PLACES = len(BANDS) * (1 + len(QUANTILES))


def stretched(correlation: Tensor) -> Tensor:
    """Correlations on a scale on which differences near 1 count."""
    return torch.atanh(correlation.clamp(-LIMIT, LIMIT))


def bands(x_B1SS: Tensor) -> Tensor:
    """The image in its bands, what is strong in it compressed: [B, C, S, S] in (-1, 1).

    Without that a rim speaks for all places near it, for it is a hundred times as strong as what else is there.
    """
    unit = x_B1SS.shape[-1] / 64
    parts = []
    for fine, wide, _, least in BANDS:
        x = blur(x_B1SS, fine * unit) - blur(x_B1SS, wide * unit)
        usual = x.abs().flatten(1).quantile(0.6, dim=1)[:, None, None, None]
        parts.append(x / (x.abs() + 2 * usual + least))
    return torch.cat(parts, 1)


def agreement(template_PCSS: Tensor, query_PCSS: Tensor, transforms_P23: Tensor) -> Tensor:
    """How the bands of registered pairs agree, over the places that both show: mean and quantiles, [P, F].

    Every place counts alike, however strong its detail: a rim or a marker that all images share decides nothing alone.
    """
    P, C, S, _ = template_PCSS.shape
    grid = F.affine_grid(transforms_P23, [P, C, S, S], align_corners=False)
    shown = F.grid_sample(query_PCSS, grid, padding_mode="zeros", align_corners=False)
    mask = seen(transforms_P23, places(S)).view(P, 1, S, S)
    a, b = template_PCSS * mask, shown * mask
    start = STRIDE // 2
    there = mask[:, :, start::STRIDE, start::STRIDE].flatten(1) > 0
    features = []
    for number, (_, _, around, _) in enumerate(BANDS):
        x, y = a[:, number : number + 1], b[:, number : number + 1]
        sigma = around * S / 64
        both = blur(torch.cat([x * y, x * x, y * y], 1).flatten(0, 1)[:, None], sigma).view(P, 3, S, S)
        size = (both[:, 1] * both[:, 2]).clamp(min=0).sqrt() + NONE**2
        alike = (both[:, 0] / size)[:, start::STRIDE, start::STRIDE].flatten(1)
        mean = (alike * there).sum(1) / there.sum(1).clamp(min=1)
        ordered = alike.masked_fill(~there, 2.0).sort(dim=1).values
        count = there.sum(1)
        at = torch.stack([(count - 1).clamp(min=0) * q for q in QUANTILES], 1).round().long()
        features += [mean[:, None], ordered.gather(1, at)]
    return stretched(torch.cat(features, 1))


def margins(value_BK: Tensor, chosen_BR: Tensor) -> Tensor:
    """How alike the chosen candidates are, and by how much more so than the fourth and those after it: [B, R, 2].

    Whatever all images of a set share is common to all candidates, and falls out; a family of three copies may stay.
    """
    K = value_BK.shape[1]
    others = value_BK.sort(dim=1, descending=True).values[:, min(SPARED, K - 1) :].mean(1, keepdim=True)
    own = stretched(value_BK.gather(1, chosen_BR))
    return torch.stack([own, own - stretched(others)], 2)


def plain_score(features_PF: np.ndarray) -> np.ndarray:
    """Log odds of a copy from the registered correlation alone, even at 0.9: for sets too small to fit anything."""
    at = math.atanh(0.9)
    return np.asarray(6.0 * (features_PF[:, NUM_PLACES] - at))
