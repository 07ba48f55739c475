"""Deterministic samplers: from noise to images along a schedule. All take `(denoiser, noise, sigmas, condition)`.

`noise` is unit normal [B, C, H, W], the state at sigmas[0] over sigmas[0]; `sigmas` is a schedule (schedule.py); the
result is the image, in about [-1, 1]. A schedule that does not end in 0 gives the state at its last sigma, and one that
rises walks the same equation backward (inversion.py).
"""

import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor

from synthcohort.core.config import require
from synthcohort.diffusion.guidance import Guidance, guided
from synthcohort.diffusion.precondition import Denoiser
from synthcohort.diffusion.schedule import karras_sigmas

Sampler = Callable[[Denoiser, Tensor, Tensor, Any], Tensor]


def euler(denoiser: Denoiser, noise: Tensor, sigmas: Tensor, condition: Any) -> Tensor:
    """First order: one evaluation a step. Source: Karras et al. 2022, algorithm 1 without the correction."""
    x = noise * sigmas[0]
    for sigma, sigma_next in itertools.pairwise(sigmas):
        slope = (x - denoiser(x, sigma.expand(len(x)), condition)) / sigma
        x = x + slope * (sigma_next - sigma)
    return x


def heun(denoiser: Denoiser, noise: Tensor, sigmas: Tensor, condition: Any) -> Tensor:
    """Second order: two evaluations a step, one in the last. Source: Karras et al. 2022, algorithm 1."""
    x = noise * sigmas[0]
    for sigma, sigma_next in itertools.pairwise(sigmas):
        slope = (x - denoiser(x, sigma.expand(len(x)), condition)) / sigma
        x_euler = x + slope * (sigma_next - sigma)
        if sigma_next > 0:
            slope_next = (x_euler - denoiser(x_euler, sigma_next.expand(len(x)), condition)) / sigma_next
            x = x + (slope + slope_next) / 2 * (sigma_next - sigma)
        else:
            x = x_euler
    return x


def dpmpp_2m(denoiser: Denoiser, noise: Tensor, sigmas: Tensor, condition: Any) -> Tensor:
    """Second order with one evaluation a step: the last denoised image is the second point.

    Source: Lu et al. 2022, "DPM-Solver++", algorithm 2, in data prediction with lambda = -log(sigma).
    """
    x = noise * sigmas[0]
    previous: Tensor | None = None
    for i in range(len(sigmas) - 1):
        sigma, sigma_next = sigmas[i], sigmas[i + 1]
        denoised = denoiser(x, sigma.expand(len(x)), condition)
        if sigma_next == 0:
            return denoised
        step = (sigma / sigma_next).log()
        target = denoised
        if previous is not None:
            ratio = (sigmas[i - 1] / sigma).log() / step  # length of the last step over this one
            target = torch.lerp(previous, denoised, 1 + 1 / (2 * ratio))
        x = (sigma_next / sigma) * x + (1 - sigma_next / sigma) * target
        previous = denoised
    return x


@dataclass(frozen=True)
class SamplingConfig:
    """How images are drawn; one setting serves every figure of a study.

    sampler                 dpmpp_2m: one evaluation a step; heun: two; euler: one, first order
    steps                   steps of the schedule
    sigma_min, sigma_max    ends of the schedule, in pixels of [-1, 1]
    rho                     how the steps lean toward low noise
    guidance_scale          of the whole condition; 1 is none; more gives clearer labels and less variety
    guidance                of single conditions, by the name of their column or `text`: {kl_grade = 2.0}; 1 is none
    guidance_low, guidance_high   sigmas between which guidance works, at an evaluation more a step for each scale that
                            is not 1; outside a step costs one
    """

    sampler: Literal["dpmpp_2m", "heun", "euler"] = "dpmpp_2m"
    steps: int = 16
    sigma_min: float = 0.01
    sigma_max: float = 80.0
    rho: float = 7.0
    guidance_scale: float = 1.5
    guidance: dict[str, float] = field(default_factory=dict)
    guidance_low: float = 0.1
    guidance_high: float = 8.0

    def __post_init__(self) -> None:
        checks = [
            ("steps", self.steps >= 2, "2 or more"),
            ("sigma_min", 0 < self.sigma_min < self.sigma_max, "more than 0 and less than sigma_max"),
            ("rho", self.rho >= 1, "1 or more"),
            ("guidance_scale", self.guidance_scale >= 0, "0 or more; 1 is no guidance"),
            ("guidance", all(scale >= 0 for scale in self.guidance.values()), "scales of 0 or more; 1 is no guidance"),
            ("guidance_low", 0 <= self.guidance_low <= self.guidance_high, "0 up to guidance_high"),
        ]
        require("setting generate.sampling.", self, checks)

    def sigmas(self) -> Tensor:
        """The schedule, [steps + 1]."""
        return karras_sigmas(self.steps, self.sigma_min, self.sigma_max, self.rho)

    def guide(self, denoiser: Denoiser, null_condition: Any, without: Mapping[str, Any] | None = None) -> Denoiser:
        """The denoiser guided as configured; `without` holds, for each name in `guidance`, the condition lacking it."""
        return guided(
            denoiser,
            null_condition,
            Guidance(self.guidance_scale, self.guidance_low, self.guidance_high, self.guidance),
            without,
        )

    def solve(self, denoiser: Denoiser, noise: Tensor, sigmas: Tensor, condition: Any) -> Tensor:
        """The sampler over any schedule, without guidance of its own."""
        return SAMPLERS[self.sampler](denoiser, noise, sigmas, condition)

    def sample(
        self,
        denoiser: Denoiser,
        noise: Tensor,
        condition: Any,
        null_condition: Any,
        without: Mapping[str, Any] | None = None,
    ) -> Tensor:
        """Images [B, C, H, W] from unit noise."""
        guide = self.guide(denoiser, null_condition, without)
        return self.solve(guide, noise, self.sigmas().to(noise.device), condition)


SAMPLERS: dict[str, Sampler] = {"dpmpp_2m": dpmpp_2m, "heun": heun, "euler": euler}
