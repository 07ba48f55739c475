"""Classifier-free guidance: away from what the network would draw without the condition."""

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from synthcohort.diffusion.precondition import Denoiser


@dataclass(frozen=True)
class Guidance:
    """`scale` 1 is no guidance; outside [sigma_low, sigma_high] there is none, and a step costs half.

    Source: Ho & Salimans 2021; the interval: Kynkaanniemi et al. 2024.
    """

    scale: float = 1.0
    sigma_low: float = 0.0
    sigma_high: float = float("inf")

    def active(self, sigma: float) -> bool:
        return self.scale != 1.0 and self.sigma_low <= sigma <= self.sigma_high


def guided(denoiser: Denoiser, null_condition: Any, guidance: Guidance) -> Denoiser:
    """The guided denoiser; `sigma` must be the same for the whole batch, as it is in sampling.

    With and without condition are two calls of one batch shape, so a result does not depend on the guidance of others.
    """

    def denoise(x: Tensor, sigma_B: Tensor, condition: Any) -> Tensor:
        conditional = denoiser(x, sigma_B, condition)
        if not guidance.active(float(sigma_B[0])):
            return conditional
        unconditional = denoiser(x, sigma_B, null_condition)
        return unconditional + guidance.scale * (conditional - unconditional)

    return denoise
