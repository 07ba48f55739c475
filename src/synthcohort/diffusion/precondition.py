"""Preconditioning: what stands between a network with inputs and outputs of unit size and a denoiser.

Source: Karras et al. 2022, "Elucidating the Design Space of Diffusion-Based Generative Models", table 1 and section 5.
`sigma_data` is the standard deviation of the training pixels in [-1, 1].
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

Denoiser = Callable[[Tensor, Tensor, Any], Tensor]


def c_skip(sigma: Tensor, sigma_data: float) -> Tensor:
    """How much of the noisy image passes the network by."""
    return sigma_data**2 / (sigma**2 + sigma_data**2)


def c_out(sigma: Tensor, sigma_data: float) -> Tensor:
    """Scale of the network's output."""
    return sigma * sigma_data / (sigma**2 + sigma_data**2).sqrt()


def c_in(sigma: Tensor, sigma_data: float) -> Tensor:
    """Scale of the network's input: gives it unit variance at every sigma."""
    return 1 / (sigma**2 + sigma_data**2).sqrt()


def c_noise(sigma: Tensor) -> Tensor:
    """The number by which the network knows the noise level."""
    return sigma.log() / 4


def loss_weight(sigma: Tensor, sigma_data: float) -> Tensor:
    """Weight of the squared error that makes the network's own target unit size at every sigma."""
    return (sigma**2 + sigma_data**2) / (sigma * sigma_data) ** 2


def per_image(values_B: Tensor, x: Tensor) -> Tensor:
    """[B] -> [B, 1, 1, 1], to multiply images with."""
    return values_B.view(-1, *([1] * (x.ndim - 1)))


def denoise(network: Denoiser, x: Tensor, sigma_B: Tensor, condition: Any, sigma_data: float) -> Tensor:
    """Equation 7: the denoised image [B, C, H, W] float32 from a network F(c_in x, c_noise, condition)."""
    sigma = per_image(sigma_B, x)
    out = network(c_in(sigma, sigma_data) * x, c_noise(sigma_B), condition)
    return c_skip(sigma, sigma_data) * x + c_out(sigma, sigma_data) * out.float()


def denoising_error(denoised: Tensor, clean: Tensor, sigma_B: Tensor, sigma_data: float) -> Tensor:
    """Weighted mean squared error of each image, [B]: 1 for a network that always answers 0."""
    return (denoised - clean).square().flatten(1).mean(1) * loss_weight(sigma_B, sigma_data)


def add_noise(clean: Tensor, noise: Tensor, sigma_B: Tensor) -> Tensor:
    """Image plus sigma times unit noise."""
    return torch.addcmul(clean, noise, per_image(sigma_B, clean))
