"""Noise levels as tensors: those a sampler walks down, and those a training step draws."""

import math

import torch
from torch import Tensor


def karras_sigmas(steps: int, sigma_min: float, sigma_max: float, rho: float = 7.0) -> Tensor:
    """[steps + 1] sigmas from sigma_max to sigma_min, then 0. Source: Karras et al. 2022, equation 5."""
    if steps < 2 or not 0 < sigma_min < sigma_max:
        raise ValueError(
            f"steps {steps}, sigma_min {sigma_min}, sigma_max {sigma_max}; needed: steps >= 2, 0 < min < max"
        )
    ramp = torch.linspace(0, 1, steps, dtype=torch.float64)
    low, high = sigma_min ** (1 / rho), sigma_max ** (1 / rho)
    sigmas = (high + ramp * (low - high)) ** rho
    return torch.cat([sigmas, sigmas.new_zeros(1)]).float()


def lognormal_sigmas(
    uniform: Tensor, mean: float, std: float, sigma_min: float = 0.002, sigma_max: float = 80.0
) -> Tensor:
    """Quantiles of exp(N(mean, std^2)), clipped: uniform numbers in (0, 1) become training sigmas."""
    normal = math.sqrt(2) * torch.erfinv((2 * uniform.double() - 1).clamp(-1 + 1e-6, 1 - 1e-6))
    return (mean + std * normal).exp().clamp(sigma_min, sigma_max).float()


def stratified_uniform(count: int, generator: torch.Generator) -> Tensor:
    """One uniform number from each of `count` equal parts of (0, 1): every batch sees all noise levels alike."""
    return (
        torch.arange(count, dtype=torch.float64) + torch.rand(count, generator=generator, dtype=torch.float64)
    ) / count
