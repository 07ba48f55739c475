"""Guidance: away from what would be drawn without the condition, without one part of it, or by a weaker model.

Each kind adds `(scale - 1) * (denoised - reference)` to what the denoiser says under the whole condition c. By the
formula of Tweedie that adds the gradient of (scale - 1) log p(what the reference lacks | x, ...) to the score, so the
guided denoiser is that of p(x | c) times those probabilities to the power scale - 1, at each noise level for itself:

    the whole condition    p(c | x)              reference: nothing said          Ho & Salimans 2021, equation 6
    one part c_i           p(c_i | x, the rest)  reference: all but c_i           Brooks et al. 2023, section 3.2.1
    a weaker model         p(x) / p_weak(x)      reference: the weaker denoiser   Karras et al. 2024, equation 3

Leaving out a part from the whole, and not adding it to nothing (Liu et al. 2022, equation 11), needs no assumption that
the parts are independent given the image: a prompt that says what a grade says as well is not counted twice.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from synthcohort.core.errors import ConfigError, Problem
from synthcohort.diffusion.precondition import Denoiser


@dataclass(frozen=True)
class Guidance:
    """`scale` for the whole condition, `parts` for single ones; 1 is no guidance.

    Outside [sigma_low, sigma_high] there is none, and a step costs one evaluation; inside, one more for each reference.
    Source of the interval: Kynkaanniemi et al. 2024.
    """

    scale: float = 1.0
    sigma_low: float = 0.0
    sigma_high: float = float("inf")
    parts: Mapping[str, float] = field(default_factory=dict)

    def active(self, sigma: float) -> bool:
        """Whether anything guides at this noise level."""
        return self.inside(sigma) and any(scale != 1.0 for scale in (self.scale, *self.parts.values()))

    def inside(self, sigma: float) -> bool:
        return self.sigma_low <= sigma <= self.sigma_high


def guided(
    denoiser: Denoiser, null_condition: Any, guidance: Guidance, without: Mapping[str, Any] | None = None
) -> Denoiser:
    """The guided denoiser; `sigma` must be the same for the whole batch, as it is in sampling.

    `without` holds the condition that lacks it for each guided part. Every reference is a call of its own, of one batch
    shape, so a result does not depend on the guidance of others. Raises ConfigError for a part that it does not hold.
    """
    lacking = dict(without or {})
    if unknown := sorted(set(guidance.parts) - set(lacking)):
        allowed = ", ".join(sorted(lacking)) or "none: this generator has no conditions to guide one by one"
        raise ConfigError(*(Problem("setting generate.sampling.guidance", f"{name!r}", allowed) for name in unknown))
    references = [(guidance.scale, null_condition)]
    references += [(scale, lacking[name]) for name, scale in sorted(guidance.parts.items())]
    references = [(scale, reference) for scale, reference in references if scale != 1.0]

    def denoise(x: Tensor, sigma_B: Tensor, condition: Any) -> Tensor:
        conditional = denoiser(x, sigma_B, condition)
        if not guidance.active(float(sigma_B[0])):
            return conditional
        denoised = conditional
        for scale, reference in references:
            denoised = denoised + (scale - 1.0) * (conditional - denoiser(x, sigma_B, reference))
        return denoised

    return denoise


def autoguided(denoiser: Denoiser, weak: Denoiser, guidance: Guidance) -> Denoiser:
    """Guided away from a weaker model of the same data, smaller or less trained; its scale is `guidance.scale`."""

    def denoise(x: Tensor, sigma_B: Tensor, condition: Any) -> Tensor:
        strong = denoiser(x, sigma_B, condition)
        if guidance.scale == 1.0 or not guidance.inside(float(sigma_B[0])):
            return strong
        return strong + (guidance.scale - 1.0) * (strong - weak(x, sigma_B, condition))

    return denoise
