"""An average of the weights over the recent past, which makes better images than the weights themselves."""

from collections.abc import Iterable

import torch
from torch import Tensor


def average_decay(step: int, share: float) -> float:
    """Decay after `step` steps such that the average reaches back over about `share` of the steps so far.

    A constant share of a growing past keeps early, bad weights out at any length of training.
    Source: Karras et al. 2024 ("Analyzing and Improving the Training Dynamics of Diffusion Models"), section 3.1.
    """
    return 1 - 1 / (share * step + 1)


@torch.no_grad()
def update_average(average: Iterable[Tensor], weights: Iterable[Tensor], decay: float) -> None:
    """average = decay * average + (1 - decay) * weights, in place."""
    torch._foreach_lerp_(list(average), list(weights), 1 - decay)
