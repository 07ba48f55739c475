"""Losses of adversarial training, as functions of scores; every one gives a value per image, [B].

`real` and `fake` are the discriminator's scores of real images and of drawn ones under the same conditions, in pairs.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor


def relativistic_discriminator(real: Tensor, fake: Tensor) -> Tensor:
    """-log sigmoid(real - fake): a real image is to look more real than the drawn one it is paired with.

    Source: Jolicoeur-Martineau 2018 (1807.00734); as used by Huang et al. 2024 (2501.05441), equation 2.
    """
    return F.softplus(fake - real)


def relativistic_generator(real: Tensor, fake: Tensor) -> Tensor:
    """-log sigmoid(fake - real): the same with the roles exchanged."""
    return F.softplus(real - fake)


def wasserstein_discriminator(real: Tensor, fake: Tensor) -> Tensor:
    """fake - real: its negative mean estimates the distance where scores are 1-Lipschitz. Source: Arjovsky 2017."""
    return fake - real


def wasserstein_generator(real: Tensor, fake: Tensor) -> Tensor:
    """-fake."""
    return -fake


def squared_gradients(scores: Tensor, images: Tensor) -> Tensor:
    """|d score / d image|^2 of each image, itself differentiable: the zero-centered penalties R1 (real) and R2 (drawn).

    `images` must require gradients, and no score may depend on another row's image.
    Source: Mescheder et al. 2018 (1801.04406), equation 9.
    """
    (gradient,) = torch.autograd.grad(scores.sum(), images, create_graph=True)
    return gradient.flatten(1).square().sum(1)


def unit_gradients(scores: Tensor, images: Tensor) -> Tensor:
    """(|d score / d image| - 1)^2 of each image, itself differentiable. Source: Gulrajani et al. 2017, equation 3."""
    return ((squared_gradients(scores, images) + 1e-12).sqrt() - 1).square()


def between(real: Tensor, fake: Tensor, share_B: Tensor) -> Tensor:
    """Images on the lines from drawn (share 0) to real ones (share 1). Source: Gulrajani et al. 2017, algorithm 1."""
    return torch.lerp(fake, real, share_B[:, None, None, None])


PairLoss = Callable[[Tensor, Tensor], Tensor]
LOSSES: dict[str, tuple[PairLoss, PairLoss]] = {  # of the discriminator, of the generator
    "modern": (relativistic_discriminator, relativistic_generator),
    "wgan_gp": (wasserstein_discriminator, wasserstein_generator),
}
