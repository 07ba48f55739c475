"""What training minimizes: both objectives are a denoiser's, with their own noise levels and weights.

*edm*: Karras et al. 2022, table 1: log-normal sigma, and weights that give the network's own target unit size.
*flow*: rectified flow (Liu et al. 2022; Esser et al. 2024, section 3). On the straight path x_t = (1 - t) image + t
noise, a denoised image stands for the velocity (x_t - denoised) / t. Divided by 1 - t the path is the image plus noise
of sigma = t / (1 - t), so the squared error of the velocity is that of the denoised image times 1 / t^2 =
((1 + sigma) / sigma)^2, and a logit-normal t is a log-normal sigma of the same mean and deviation. Samplers need not
know which one a model was trained with.
"""

import math
from typing import Literal

import torch
from torch import Tensor

from synthcohort.diffusion.precondition import loss_weight
from synthcohort.diffusion.schedule import lognormal_sigmas, stratified_uniform

Objective = Literal["edm", "flow"]
# Mean and standard deviation of log(sigma) where the settings do not say: tuned on 64-pixel knees; Esser et al. 2024.
NOISE_LEVELS: dict[str, tuple[float, float]] = {"edm": (-0.8, 1.4), "flow": (0.0, 1.0)}
TUNED_STD = 0.44  # of those knees, in [-1, 1]


def training_sigmas(
    objective: Objective,
    mean: float | None,
    std: float | None,
    count: int,
    generator: torch.Generator,
    latent_std: float | None = None,
) -> Tensor:
    """Noise levels [B] of a step, spread evenly over their distribution; None takes the objective's own.

    Latents have another standard deviation than the pixels that edm's levels were tuned on: its mean moves with it.
    """
    own_mean, own_std = NOISE_LEVELS[objective]
    if latent_std is not None and objective == "edm":
        own_mean += math.log(latent_std / TUNED_STD)
    uniform = stratified_uniform(count, generator)
    return lognormal_sigmas(uniform, own_mean if mean is None else mean, own_std if std is None else std)


def training_error(objective: Objective, denoised: Tensor, clean: Tensor, sigma_B: Tensor, sigma_data: float) -> Tensor:
    """Weighted mean squared error of each image, [B]."""
    weight = loss_weight(sigma_B, sigma_data) if objective == "edm" else ((1 + sigma_B) / sigma_B).square()
    return (denoised - clean).square().flatten(1).mean(1) * weight


def velocity(denoised: Tensor, path: Tensor, t_B: Tensor) -> Tensor:
    """The direction noise - image that a denoised image stands for, at x_t = `path` and time t in (0, 1]."""
    return (path - denoised) / t_B.view(-1, *[1] * (path.ndim - 1))


def path_sigma(t_B: Tensor) -> Tensor:
    """The noise level of time t on the straight path: t / (1 - t)."""
    return t_B / (1 - t_B)
