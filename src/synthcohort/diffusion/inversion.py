"""From an image back to the noise it would have been drawn from.

The flow is an ordinary differential equation, so a sampler walked up a schedule inverts what it does walking down, but
for its error: Song et al. 2021, "DDIM", section 5.4. That error is what `refine` takes away.
"""

from typing import Any

from torch import Tensor

from synthcohort.diffusion.precondition import Denoiser
from synthcohort.diffusion.sampling import Sampler


def invert(
    denoiser: Denoiser, image: Tensor, sigmas: Tensor, condition: Any, sampler: Sampler, refine: int = 0
) -> Tensor:
    """The unit noise [B, C, H, W] from which `sampler` draws `image` along `sigmas`, a schedule that ends in 0.

    The image counts as the state at the last sigma above 0, which it is but for that much noise. Each refinement draws
    from the noise found, inverts that image too, and takes away what it missed by (defect correction: the inverse need
    only be near enough for the misses to shrink); it costs two walks.
    """
    rising = sigmas[sigmas > 0].flip(0)

    def walk_up(x: Tensor) -> Tensor:
        return sampler(denoiser, x / rising[0], rising, condition) / rising[-1]

    first = noise = walk_up(image)
    for _ in range(refine):
        noise = noise + first - walk_up(sampler(denoiser, noise, sigmas, condition))
    return noise
