"""Regions: what of an image may change, and what is held.

Words: a *mask* is [B or 1, 1, H, W], 1 where the image may change, 0 where it is held, between the two at a soft edge.
"""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from synthcohort.diffusion.precondition import Denoiser
from synthcohort.diffusion.sampling import Sampler


def held(denoiser: Denoiser, known: Tensor, mask: Tensor) -> Denoiser:
    """A denoiser that knows the image outside the mask.

    There the flow is then a straight line from the noise to `known`, so that the network sees the known image under
    noise of the right size at every step, with every sampler: the replacement of Song et al. 2021, "Score-Based
    Generative Modeling", appendix I.2, and Lugmayr et al. 2022, "RePaint", equation 8, done to the prediction.
    """

    def denoise(x: Tensor, sigma_B: Tensor, condition: Any) -> Tensor:
        return torch.lerp(known, denoiser(x, sigma_B, condition), mask.expand_as(known))

    return denoise


def inpaint(
    denoiser: Denoiser,
    known: Tensor,
    mask: Tensor,
    noise: Tensor,
    sigmas: Tensor,
    condition: Any,
    sampler: Sampler,
    rounds: Sequence[Tensor] = (),
    sigma_back: float = 2.0,
) -> Tensor:
    """The image drawn anew inside the mask, from unit noise; outside it is `known`, exactly.

    Each further unit noise in `rounds` throws the result back to the largest sigma up to `sigma_back` and draws it
    again from there, so that the two sides of the edge come to agree: Lugmayr et al. 2022, algorithm 1, its jumps
    as long as those of Xu et al. 2023, "Restart Sampling".
    """
    denoise = held(denoiser, known, mask)
    x = sampler(denoise, noise + known / sigmas[0], sigmas, condition)
    back = sigmas[sigmas <= max(sigma_back, float(sigmas[-3]))]
    for fresh in rounds:
        x = sampler(denoise, x / back[0] + fresh, back, condition)
    return x


def rework(
    denoiser: Denoiser, image: Tensor, noise: Tensor, sigmas: Tensor, condition: Any, sampler: Sampler
) -> Tensor:
    """The image under noise of sigmas[0], drawn again from there. Source: Meng et al. 2022, "SDEdit", algorithm 1."""
    return sampler(denoiser, image / sigmas[0] + noise, sigmas, condition)


def difference_map(
    denoiser: Denoiser, image: Tensor, noises: Sequence[Tensor], sigma: float, condition: Any, other: Any
) -> Tensor:
    """How far two conditions differ over each pixel, [B, 1, H, W]: the mean over noises of |D(x) - D'(x)|.

    Source: Couairon et al. 2022, "DiffEdit", section 3.2, step 1.
    """
    sigma_B = image.new_full((len(image),), sigma)
    total = torch.zeros_like(image[:, :1])
    for noise in noises:
        x = image + sigma * noise
        total += (denoiser(x, sigma_B, condition) - denoiser(x, sigma_B, other)).abs().mean(1, keepdim=True)
    return total / len(noises)


def difference_mask(difference: Tensor, blur: float, threshold: float) -> Tensor:
    """Binary [B, 1, H, W]: where the blurred difference exceeds `threshold` of its 99th percentile.

    `blur` is the standard deviation in pixels.
    """
    smooth = gaussian_blur(difference, blur)
    top = smooth.flatten(1).quantile(0.99, dim=1).view(-1, 1, 1, 1)
    return (smooth > threshold * top).to(difference.dtype)


def gaussian_blur(x: Tensor, std: float) -> Tensor:
    """[B, 1, H, W] convolved with a Gaussian, the edge repeated outward; `std` 0 leaves it as it is."""
    if std <= 0:
        return x
    reach = min(int(3 * std + 0.5), *(side - 1 for side in x.shape[-2:]))
    ramp = torch.arange(-reach, reach + 1, dtype=x.dtype, device=x.device)
    kernel = torch.exp(-0.5 * (ramp / std) ** 2)
    kernel = kernel / kernel.sum()
    x = F.conv2d(F.pad(x, (0, 0, reach, reach), mode="replicate"), kernel.view(1, 1, -1, 1))
    return F.conv2d(F.pad(x, (reach, reach, 0, 0), mode="replicate"), kernel.view(1, 1, 1, -1))


def feather(mask: Tensor, pixels: int) -> Tensor:
    """A binary mask with an edge that rises over so many pixels inward: what lay outside stays exactly 0."""
    layers = [mask]
    for _ in range(pixels):
        layers.append(-F.max_pool2d(-layers[-1], 3, stride=1, padding=1))
    return torch.stack(layers).mean(0)
