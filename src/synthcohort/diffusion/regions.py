"""Regions: what of an image may change, and what is held.

Words: a *mask* is [B or 1, 1, H, W], 1 where the image may change, 0 where it is held, between the two at a soft edge.
"""

from collections.abc import Callable, Sequence
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
    Generative Modeling", appendix I.2, done to the prediction.
    """

    def denoise(x: Tensor, sigma_B: Tensor, condition: Any) -> Tensor:
        return torch.lerp(known, denoiser(x, sigma_B, condition), mask.expand_as(known))

    return denoise


def surrounded(denoiser: Denoiser, known: Tensor, mask: Tensor, iterations: int) -> Denoiser:
    """A denoiser that expects inside the mask what fits the known image outside; outside it answers `known`.

    At each noise level the clean image given the noisy one has mean D and covariance sigma^2 J, J the derivative of D.
    Were it Gaussian, knowing y = H x0 would make the mean D + J H' (H J H')^-1 (y - H D): the linear system is solved
    by so many iterations, each the price of about two evaluations. Replacement alone (`held`)
    tells the network of the surroundings but leaves the prediction inside as if they could still change.
    Source: Rozet et al. 2024, "Learning diffusion priors from observations by expectation maximization", section 4.1,
    by conjugate gradients; the derivative as covariance: Boys et al. 2023, equation 4.
    """
    keep = 1 - mask

    def denoise(x: Tensor, sigma_B: Tensor, condition: Any) -> Tensor:
        with torch.enable_grad():
            x = x.detach().requires_grad_()
            denoised = denoiser(x, sigma_B, condition)

            def derivative(v: Tensor) -> Tensor:
                return torch.autograd.grad((denoised * v).sum(), x, retain_graph=True)[0]

            correction = _solved(derivative, keep, known - denoised.detach(), iterations)
        return torch.lerp(known, denoised.detach() + correction, mask.expand_as(known))

    return denoise


DAMPING = 0.01  # of derivatives that lie between 0 and 1: what the network calls impossible is not forced


def _solved(derivative: Callable[[Tensor], Tensor], keep: Tensor, miss: Tensor, iterations: int) -> Tensor:
    """J H' v where (H J H' + DAMPING) v = H miss, for each image alone.

    By conjugate residuals that are made orthogonal to all before them: a network's derivative is neither quite
    symmetric nor quite positive, and so the residual can't grow. Source: Eisenstat et al. 1983, algorithm GCR.
    """
    residual = keep * miss
    correction = torch.zeros_like(residual)
    before: list[tuple[Tensor, Tensor]] = []  # J H' p and the operator on p, of each direction p
    for _ in range(iterations):
        moved = derivative(keep * residual)
        applied = keep * moved + DAMPING * residual
        for old_moved, old_applied in before:
            share = _dot(applied, old_applied) / _dot(old_applied, old_applied).clamp(min=1e-20)
            moved, applied = moved - share * old_moved, applied - share * old_applied
        before.append((moved, applied))
        step = _dot(residual, applied) / _dot(applied, applied).clamp(min=1e-20)
        correction, residual = correction + step * moved, residual - step * applied
    return correction


def _dot(a: Tensor, b: Tensor) -> Tensor:
    """Inner product of each image, [B, 1, 1, 1]."""
    return (a * b).flatten(1).sum(1).view(-1, *([1] * (a.ndim - 1)))


def inpaint(
    denoiser: Denoiser,
    known: Tensor,
    mask: Tensor,
    noise: Tensor,
    sigmas: Tensor,
    condition: Any,
    sampler: Sampler,
    iterations: int = 3,
) -> Tensor:
    """The image drawn anew inside the mask, from unit noise; outside it is `known`, exactly.

    `iterations` of `surrounded` at every step; 0 only replaces.
    """
    denoise = surrounded(denoiser, known, mask, iterations) if iterations else held(denoiser, known, mask)
    return sampler(denoise, noise + known / sigmas[0], sigmas, condition)


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
